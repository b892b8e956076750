"""Parse the events of Realtime clients into commands."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr_server.protocol.commands import LONGEST_COMMAND
from asr_server.protocol.realtime_session import InvalidEvent, presentable, unsupported
from asr_server.protocol.refusals import LONGEST_NAME

APPEND = "input_audio_buffer.append"
CONVERSATION = re.compile(
    r"(response|conversation|output_audio_buffer|input_image_buffer)\.[a-z_.]+"
)
"""Events of a conversation with a model that answers."""
_AUDIO = re.compile(r'"audio"\s*:\s*"')


@dataclass(frozen=True, slots=True)
class SessionUpdate:
    """Change the configuration."""

    event_id: str | None
    session: Mapping[str, Any]
    beta: bool = False
    """Whether the event was `transcription_session.update`."""


@dataclass(frozen=True, slots=True)
class Append:
    """Add audio to the buffer."""

    event_id: str | None
    audio: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """End the sentence: recognise all audio in the buffer."""

    event_id: str | None


@dataclass(frozen=True, slots=True)
class Clear:
    """Drop the audio in the buffer."""

    event_id: str | None


@dataclass(frozen=True, slots=True)
class Finish:
    """End the session once everything is recognised."""

    event_id: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Hold why an event is not served."""

    event_id: str | None
    error: InvalidEvent


RealtimeCommand = SessionUpdate | Append | Commit | Clear | Finish | Refused
SIMPLE: dict[str, type[Commit | Clear | Finish]] = {
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
    "session.finish": Finish,
}
UPDATES = ("session.update", "transcription_session.update")
TYPES = (*UPDATES, APPEND, *SIMPLE)


def parse(text: str) -> RealtimeCommand:
    """Return the command in a text frame."""
    audio: str | None = None
    if len(text) > LONGEST_COMMAND:
        text, audio = _without_audio(text)
    event_id = None
    try:
        if len(text) > LONGEST_COMMAND:
            raise InvalidEvent(
                f"An event has at most {LONGEST_COMMAND} characters beside its audio."
            )
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidEvent("The message is not JSON.", code="invalid_json") from None
        if not isinstance(event, dict):
            raise InvalidEvent("The message is not a JSON object.", code="invalid_json")
        given = event.get("event_id")
        event_id = given if presentable(given) else None
        return _command(event, event_id, audio)
    except InvalidEvent as error:
        return Refused(event_id, error)


def _without_audio(text: str) -> tuple[str, str | None]:
    """Return a long event without its audio, and the audio: JSON's reader need not see it."""
    found = _AUDIO.search(text)
    end = text.find('"', found.end()) if found else -1
    if found is None or end < 0:
        return text, None
    return text[: found.end()] + text[end:], text[found.end() : end].replace("\\/", "/")


def _command(event: dict[str, Any], event_id: str | None, audio: str | None) -> RealtimeCommand:
    kind = event.get("type")
    if kind == APPEND:
        return Append(event_id, _decoded(event.get("audio") if audio is None else audio))
    if kind in UPDATES:
        session = event.get("session")
        if not isinstance(session, dict):
            raise InvalidEvent("'session' must be an object.", "session")
        return SessionUpdate(event_id, session, kind != UPDATES[0])
    if isinstance(kind, str) and kind in SIMPLE:
        return SIMPLE[kind](event_id)
    if isinstance(kind, str) and CONVERSATION.fullmatch(kind):
        raise InvalidEvent(
            f"This server transcribes only: it has no '{kind[:LONGEST_NAME]}'.", "type"
        )
    raise unsupported("type", kind, TYPES)


def _decoded(audio: Any) -> bytes:
    """Return the bytes of base64, with or without line breaks and padding."""
    if not isinstance(audio, str):
        raise InvalidEvent("'audio' must be a string of base64.", "audio")
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        pass
    bare = "".join(audio.split()).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidEvent("'audio' is not base64.", "audio") from None
