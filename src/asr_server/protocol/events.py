"""Write the server's text frames, shaped like captures of the real service.

The JSON is compact and raw UTF-8, because some clients read at most 1024 or 4096 bytes of a frame.
Further keys are left out on purpose: strict parsers fail on unknown ones.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

from asr_server.errors import AsrError

INPUT_TOKENS_PER_S = 12.5
"""Tokens that the service counts for a second of audio."""

Usage = dict[str, int]


@dataclass(frozen=True, slots=True)
class Word:
    """Hold a word of a sentence; times in ms from the start of the task."""

    begin_time: int
    end_time: int
    text: str
    """One or more characters; a Latin word after another starts with the space between them."""
    punctuation: str
    """The mark after the word, or ""."""
    confidence: float | None = None
    """0 to 1, of the word's least certain token; None unless the task asked for it."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Hold one result, interim or final; times in ms from the start of the task."""

    sentence_id: int
    begin_time: int
    end_time: int | None
    """None while the text may still change: the SDKs take a result with an end for final."""
    text: str
    """The words and their punctuation, joined."""
    words: tuple[Word, ...]
    begins: bool = False
    """Whether this is the first result of its sentence."""
    output_tokens: int | None = None
    """Tokens of the task's finals up to this one; None unless `usage` counts tokens."""


def task_started(task_id: str) -> str:
    """Return the frame that confirms run-task."""
    return _event("task-started", task_id, {})


def sentence(task_id: str, result: Sentence) -> str:
    """Return a result in the shape of Paraformer and Fun-ASR."""
    body: dict[str, Any] = {
        "sentence_id": result.sentence_id,
        "begin_time": result.begin_time,
        "end_time": result.end_time,
        "text": result.text,
        "channel_id": 0,
        "speaker_id": None,
        "sentence_end": result.end_time is not None,
    }
    if result.begins:
        body["sentence_begin"] = True
    body["words"] = [_word(word, fixed=False) for word in result.words]
    return _result(task_id, "sentence", body, result)


def transcription(task_id: str, result: Sentence) -> str:
    """Return a result in the shape of Gummy."""
    final = result.end_time is not None
    body: dict[str, Any] = {
        "sentence_id": result.sentence_id,
        "begin_time": result.begin_time,
        "end_time": result.end_time,
    }
    if not final:  # its SDK reads this when end_time is null
        body["current_time"] = result.words[-1].end_time if result.words else result.begin_time
    body["text"] = result.text
    body["words"] = [_word(word, fixed=final) for word in result.words]
    body["sentence_end"] = final
    return _result(task_id, "transcription", body, result)


def heartbeat(task_id: str) -> str:
    """Return the frame that fills silence, for tasks that asked for it."""
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


def task_finished(task_id: str, usage: Usage | None = None) -> str:
    """Return the frame after the last result; the official SDK needs its `output` to complete."""
    return _event("task-finished", task_id, {"output": {}, "usage": usage})


def usage(final: Sentence) -> Usage:
    """Return what a task has used up to the end of a final."""
    end_ms = final.end_time or 0
    used = {"duration": -(-end_ms // 1000)}  # DashScope bills started seconds
    if final.output_tokens is None:
        return used
    input_tokens = math.ceil(INPUT_TOKENS_PER_S * end_ms / 1000)
    return used | {
        "input_tokens": input_tokens,
        "output_tokens": final.output_tokens,
        "total_tokens": input_tokens + final.output_tokens,
    }


def task_failed(task_id: str, error: AsrError) -> str:
    """Return the frame after which the connection is closed."""
    about = {"error_code": error.code, "error_message": error.client_message}
    return _event("task-failed", task_id, {}, **about)


def _result(task_id: str, kind: str, body: dict[str, Any], result: Sentence) -> str:
    if result.end_time is None:
        return _event("result-generated", task_id, {"output": {kind: body}})
    body["stash"] = {
        "sentence_id": result.sentence_id + 1,
        "text": "",
        "begin_time": result.end_time,
        "current_time": result.end_time,
        "words": [],
    }
    return _event("result-generated", task_id, {"output": {kind: body}, "usage": usage(result)})


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
