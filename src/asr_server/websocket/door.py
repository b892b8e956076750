"""Define what a connection needs of the protocol that its client speaks."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from asr_server.errors import AsrError
from asr_server.protocol import events
from asr_server.protocol.commands import is_command, parse
from asr_server.settings import Settings
from asr_server.state.messages import Audio, Output
from asr_server.state.session import Session, State

Message: TypeAlias = MutableMapping[str, Any]
"""An ASGI message with a text or a binary frame."""


class Conversation(Protocol):
    """What a connection needs of a session, `Session` or `RealtimeSession`."""

    @property
    def state(self) -> State: ...

    @property
    def task_id(self) -> str: ...

    @property
    def deadline(self) -> float | None: ...

    def receive(self, event: Any, now: float) -> list[Output]: ...


@dataclass(frozen=True, slots=True)
class Door:
    """Hold the session of one connection, and how its messages are read and written."""

    session: Conversation
    parse: Callable[[Message], Any]
    """Returns what a message of the client holds, an input of the session."""
    failed: Callable[[str, AsrError], str]
    """Writes the frame that reports a bug of this server."""
    opening: Sequence[Output] = ()
    """What the server sends first."""


def inference_door(settings: Settings, now: float) -> Door:
    """Return the door of DashScope's `run-task` protocol."""
    return Door(Session(settings, now), _parse, events.task_failed)


def _parse(message: Message) -> Any:
    data: bytes | None = message.get("bytes")
    if data is not None and not is_command(data):
        return Audio(data)
    return parse(message["text"] if data is None else data.decode(errors="replace"))
