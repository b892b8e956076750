"""What the server says: values to text frames, shaped as the captures of the real service.

Compact JSON and raw UTF-8, because some clients read at most 1024 or 4096 bytes of a frame. The
keys that are absent here are absent on purpose: strict parsers fail on unknown ones.
"""

import json
from dataclasses import dataclass
from typing import Any

from asr_server.errors import AsrError


@dataclass(frozen=True, slots=True)
class Word:
    """Part of a sentence; times in ms from the start of the task."""

    begin_time: int
    end_time: int
    text: str
    punctuation: str
    """What follows the word, "" if nothing does."""
    confidence: float | None = None
    """0 to 1; only on the wire when the task asked for it."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """All that is known of one sentence; times in ms from the start of the task."""

    sentence_id: int
    begin_time: int
    end_time: int | None
    """None while the text may still change; the SDKs tell final from interim by this."""
    text: str
    words: tuple[Word, ...]
    begins: bool = False
    """The first result of its sentence."""


def task_started(task_id: str) -> str:
    """The task is running."""
    return _event("task-started", task_id, {})


def sentence(task_id: str, heard: Sentence) -> str:
    """A result in the shape of Paraformer and Fun-ASR."""
    body: dict[str, Any] = {
        "sentence_id": heard.sentence_id,
        "begin_time": heard.begin_time,
        "end_time": heard.end_time,
        "text": heard.text,
        "channel_id": 0,
        "speaker_id": None,
        "sentence_end": heard.end_time is not None,
    }
    if heard.begins:
        body["sentence_begin"] = True
    body["words"] = [_word(word, fixed=False) for word in heard.words]
    return _result(task_id, "sentence", body, heard)


def transcription(task_id: str, heard: Sentence) -> str:
    """A result in the shape of Gummy."""
    final = heard.end_time is not None
    body: dict[str, Any] = {
        "sentence_id": heard.sentence_id,
        "begin_time": heard.begin_time,
        "end_time": heard.end_time,
    }
    if not final:  # its SDK reads this when end_time is null
        body["current_time"] = heard.words[-1].end_time if heard.words else heard.begin_time
    body["text"] = heard.text
    body["words"] = [_word(word, fixed=final) for word in heard.words]
    body["sentence_end"] = final
    return _result(task_id, "transcription", body, heard)


def heartbeat(task_id: str) -> str:
    """A sign of life during silence, for tasks that asked for it."""
    body: dict[str, Any] = {
        "sentence_id": 0,
        "begin_time": 0,
        "end_time": None,
        "text": "",
        "heartbeat": True,
        "sentence_end": False,
        "words": [],
    }
    return _event("result-generated", task_id, {"output": {"sentence": body}})


def task_finished(task_id: str) -> str:
    """Everything heard has been said; the official SDK completes only if `output` is there."""
    return _event("task-finished", task_id, {"output": {}, "usage": None})


def task_failed(task_id: str, error: AsrError) -> str:
    """The task is over and the connection will be closed."""
    return _event("task-failed", task_id, {}, error_code=error.code, error_message=error.told)


def _result(task_id: str, kind: str, body: dict[str, Any], heard: Sentence) -> str:
    if heard.end_time is None:
        return _event("result-generated", task_id, {"output": {kind: body}})
    body["stash"] = {
        "sentence_id": heard.sentence_id + 1,
        "text": "",
        "begin_time": heard.end_time,
        "current_time": heard.end_time,
        "words": [],
    }
    usage = {"duration": -(-heard.end_time // 1000)}  # begun seconds are billed
    return _event("result-generated", task_id, {"output": {kind: body}, "usage": usage})


def _word(word: Word, *, fixed: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "begin_time": word.begin_time,
        "end_time": word.end_time,
        "text": word.text,
        "punctuation": word.punctuation,
        "fixed": fixed,
        "speaker_id": None,
    }
    if word.confidence is not None:
        body["confidence"] = round(word.confidence, 3)
    return body


def _event(event: str, task_id: str, payload: dict[str, Any], **error: str) -> str:
    header = {"task_id": task_id, "event": event, **error, "attributes": {}}
    message = {"header": header, "payload": payload}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
