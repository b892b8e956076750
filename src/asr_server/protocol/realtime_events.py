"""Write the events of a Realtime session, in the shape of its dialect.

Ids are counted: the session's own is random, so all others are unique, too.
"""

import json
from dataclasses import dataclass
from typing import Any

from asr_server.errors import AsrError, ClientError
from asr_server.protocol.openai import error_body
from asr_server.protocol.realtime_session import BETA, OPENAI, QWEN, Config, Dialect, InvalidEvent

TRANSCRIPTION = "conversation.item.input_audio_transcription"
LANGUAGE = "zh"


@dataclass(frozen=True, slots=True)
class Item:
    """Hold the ids of one utterance."""

    id: str
    previous: str | None
    """The item before it in the conversation."""


class RealtimeEvents:
    """Write one session's events."""

    def __init__(self, session_id: str, dialect: Dialect) -> None:
        self.session_id = session_id
        self.dialect = dialect
        self._base = session_id.removeprefix("sess_")
        self._events = self._items = 0

    def new_item(self, previous: Item | None) -> Item:
        """Return the next item of the conversation."""
        self._items += 1
        return Item(f"item_{self._base}_{self._items}", previous.id if previous else None)

    # The session --------------------------------------------------------------------------------

    def session(self, done: str, config: Config, *, beta: bool = False) -> str:
        """Return `session.created` or `session.updated`; `done` is the second word."""
        kind = "transcription_session" if beta or self.dialect is BETA else "session"
        return self._event(f"{kind}.{done}", session=self._session(config, nested=not beta))

    def finished(self) -> str:
        """Return the last event of a session that the client finished."""
        return self._event("session.finished")

    def error(self, error: AsrError, event_id: str | None = None) -> str:
        """Return an error; `event_id` is that of the client's event at fault."""
        if isinstance(error, InvalidEvent):
            body = {
                "type": "invalid_request_error",
                "code": error.reason,
                "message": error.client_message,
                "param": error.param,
            }
        elif self.dialect is QWEN:  # its SDKs look up DashScope's codes
            fault = isinstance(error, ClientError)
            body = {
                "type": "invalid_request_error" if fault else "server_error",
                "code": error.code,
                "message": error.client_message,
                "param": None,
            }
        else:
            body = error_body(error)
        return self._event("error", error={**body, "event_id": event_id})

    # The buffer ---------------------------------------------------------------------------------

    def speech_started(self, item: Item, ms: int) -> str:
        """Return that speech began, in ms from the start of the session."""
        return self._event("input_audio_buffer.speech_started", audio_start_ms=ms, item_id=item.id)

    def speech_stopped(self, item: Item, ms: int) -> str:
        """Return that speech ended, in ms from the start of the session."""
        return self._event("input_audio_buffer.speech_stopped", audio_end_ms=ms, item_id=item.id)

    def committed(self, item: Item) -> list[str]:
        """Return that the audio of an item is complete, and the item."""
        message = {
            "id": item.id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        names = ("added", "done") if self.dialect is OPENAI else ("created",)
        return [
            self._event(
                "input_audio_buffer.committed", previous_item_id=item.previous, item_id=item.id
            ),
            *(
                self._event(
                    f"conversation.item.{name}", previous_item_id=item.previous, item=message
                )
                for name in names
            ),
        ]

    def cleared(self) -> str:
        """Return that the buffer is empty."""
        return self._event("input_audio_buffer.cleared")

    # Text ---------------------------------------------------------------------------------------

    def text(self, item: Item, fixed: str, rest: str) -> str:
        """Return Qwen-ASR's interim: the text that stays, and what may still change."""
        return self._transcription("text", item, **_SPOKEN, text=fixed, stash=rest)

    def delta(self, item: Item, added: str) -> str:
        """Return OpenAI's interim: text to append."""
        return self._transcription("delta", item, delta=added)

    def completed(self, item: Item, transcript: str, seconds: float) -> str:
        """Return the final text of an item, and the length of its speech."""
        if self.dialect is QWEN:
            return self._transcription("completed", item, **_SPOKEN, transcript=transcript)
        usage = {"type": "duration", "seconds": seconds}
        return self._transcription("completed", item, transcript=transcript, usage=usage)

    # Parts --------------------------------------------------------------------------------------

    def _session(self, config: Config, *, nested: bool) -> dict[str, Any]:
        vad = config.vad and {
            "type": "server_vad",
            "threshold": config.vad.threshold,
            "prefix_padding_ms": config.vad.prefix_padding_ms,
            "silence_duration_ms": config.vad.silence_duration_ms,
        }
        head = {"id": self.session_id, "object": "realtime.session"}
        if self.dialect is QWEN:
            transcription = {"model": config.model, "language": config.language}
            if config.prompt:
                transcription["corpus"] = {"text": config.prompt}  # type: ignore[assignment]
            return {
                **head,
                "model": config.model,
                "modalities": ["text"],
                "input_audio_format": config.format_name,
                "sample_rate": config.sample_rate,
                "input_audio_transcription": transcription,
                "turn_detection": vad,
            }
        transcription = {
            "model": config.model, "language": config.language, "prompt": config.prompt or ""
        }  # fmt: skip
        head["object"] = "realtime.transcription_session"
        if self.dialect is BETA or not nested:
            return {
                **head,
                "modalities": ["text"],
                "input_audio_format": config.format_name,
                "input_audio_transcription": transcription,
                "turn_detection": vad,
            }
        form: dict[str, Any] = {"type": config.format_name}
        if not config.telephone:
            form["rate"] = config.sample_rate
        audio = {
            "input": {
                "format": form,
                "noise_reduction": None,
                "transcription": transcription,
                "turn_detection": vad,
            }
        }
        return {**head, "type": "transcription", "audio": audio, "include": None}

    def _transcription(self, kind: str, item: Item, **body: Any) -> str:
        return self._event(f"{TRANSCRIPTION}.{kind}", item_id=item.id, content_index=0, **body)

    def _event(self, kind: str, **body: Any) -> str:
        self._events += 1
        event = {"event_id": f"event_{self._base}_{self._events}", "type": kind, **body}
        return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


_SPOKEN: dict[str, Any] = {"language": LANGUAGE, "emotion": None}
"""What Qwen-ASR also reports of speech; this server recognises no emotion."""
