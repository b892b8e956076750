"""The protocol without I/O: addresses, the client's messages, the server's events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from asr_client.errors import ProtocolError
from asr_client.types import Sentence, Word

__version__ = "0.1.0"

DEFAULT_URL = "ws://127.0.0.1:8000"
DEFAULT_MODEL = "paraformer-realtime-v2"
PATH = "/api-ws/v1/inference"
FRAME_MS = 100
"""Audio in one message, as in the official SDK's examples."""


def websocket_url(url: str) -> str:
    """Return the WebSocket address: http becomes ws, a host or a folder gets the protocol's path.

    A folder ends in a slash, as in `https://example.com/asr/`.
    """
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path or "/"
    if path.endswith("/") and not path.endswith(PATH + "/"):
        path = path[:-1] + PATH
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def without_key(url: str) -> str:
    """Return an address for messages and files: without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def run_task(task_id: str, model: str, parameters: Mapping[str, Any]) -> str:
    """Return the message that opens a task; `parameters` hold `format` and `sample_rate`."""
    payload = {
        "task_group": "audio",
        "task": "asr",
        "function": "recognition",
        "model": model,
        "parameters": dict(parameters),
        "input": {},
    }
    return _command("run-task", task_id, payload)


def finish_task(task_id: str) -> str:
    """Return the message that follows the last audio of a task."""
    return _command("finish-task", task_id, {"input": {}})


def _command(action: str, task_id: str, payload: Mapping[str, Any]) -> str:
    header = {"action": action, "task_id": task_id, "streaming": "duplex"}
    return json.dumps({"header": header, "payload": payload}, ensure_ascii=False)


class Message(NamedTuple):
    """One event of the server."""

    event: str
    header: Mapping[str, Any]
    output: Mapping[str, Any]


def parse_message(data: str | bytes) -> Message:
    """Return an event of the server. Raises ProtocolError."""
    try:
        message = json.loads(data)
        header = message["header"]
        output = (message.get("payload") or {}).get("output") or {}
        return Message(header["event"], header, output)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ProtocolError("the server sent a message that is not of this protocol") from error


def parse_sentence(output: Mapping[str, Any], index: int = 0, shift_ms: int = 0) -> Sentence | None:
    """Return the sentence of a result, or None for a heartbeat; Gummy names it `transcription`."""
    raw = output.get("sentence") or output.get("transcription")
    if not isinstance(raw, dict) or raw.get("heartbeat"):
        return None
    end = raw.get("end_time")
    final = raw.get("sentence_end") is True or ("sentence_end" not in raw and end is not None)
    begin_ms = shift_ms + int(raw.get("begin_time") or 0)
    words = tuple(_word(word, shift_ms) for word in raw.get("words") or ())
    if end is not None:
        end_ms = shift_ms + int(end)
    else:  # an example in DashScope's own documentation ends a sentence without an end_time
        end_ms = words[-1].end_ms if words else begin_ms
    return Sentence(
        index=index,
        begin_ms=begin_ms,
        end_ms=end_ms if final else None,
        text=str(raw.get("text") or ""),
        words=words,
        is_final=final,
        confidence=raw.get("confidence", _mean_confidence(words)),
    )


def _word(raw: Mapping[str, Any], shift_ms: int) -> Word:
    begin = int(raw.get("begin_time") or 0)
    return Word(
        begin_ms=shift_ms + begin,
        end_ms=shift_ms + int(raw.get("end_time") or begin),
        text=str(raw.get("text") or ""),
        punctuation=str(raw.get("punctuation") or ""),
        confidence=raw.get("confidence"),
    )


def _mean_confidence(words: Iterable[Word]) -> float | None:
    """Return the mean over characters, or None without any confidence."""
    known = [(w.confidence, len(w.text)) for w in words if w.confidence is not None]
    length = sum(size for _, size in known)
    return sum(value * size for value, size in known) / length if length else None
