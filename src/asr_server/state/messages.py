"""Define what goes into a session (`Input`) and what comes out of it (`Output`)."""

from dataclasses import dataclass

from asr_server.errors import AsrError
from asr_server.protocol.commands import Command, Rejected, RunTask
from asr_server.protocol.context import Context
from asr_server.protocol.events import Sentence
from asr_server.protocol.realtime import RealtimeCommand
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.state.task import Task

# Inputs from the client; its commands are the others ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Audio:
    """Carry a binary frame."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Report that the client closed the connection or lost it."""


# Inputs from the engine; hypotheses and the end of the stream are the others ----------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """Report that the engine opened the task's stream."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Report that the task cannot go on: its audio is undecodable, or the engine failed."""

    error: AsrError


# Inputs from the timer ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Report that `Session.deadline` has passed."""

    reading: bool = True
    """False while backpressure keeps the server from reading: the client may well have sent."""


Input = (
    Command | Rejected | Audio | Disconnected | Opened | Hypothesis | EndOfStream | Failed | Tick
)
FROM_ENGINE = (Opened, Hypothesis, EndOfStream, Failed)


# Outputs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text frame to the client."""

    frame: str
    replaceable: bool = False
    """An interim result or heartbeat, which need not be sent once a newer frame waits."""
    sentence: Sentence | None = None
    """The result in the frame, for the latency metrics."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a stream of the engine; the answer is `Opened` or `Failed`."""

    task: Task


@dataclass(frozen=True, slots=True)
class PushAudio:
    """Push audio into the stream, in the format that the task declared."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FinishStream:
    """Finish the stream; the answer is `EndOfStream` or `Failed`."""


@dataclass(frozen=True, slots=True)
class ReplaceContext:
    """Favour the names of another context from the next sentence on."""

    context: Context


@dataclass(frozen=True, slots=True)
class Postpone:
    """Give a command to the session again once the current task has ended; read nothing before."""

    command: RunTask | RealtimeCommand


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Close the task's stream, if it has one, and drop what the engine has not delivered."""

    task_id: str
    error: AsrError | None = None
    """What failed the task; None if the task finished or the client disconnected."""


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the connection once every frame before is sent."""

    code: int
    reason: str


Output = (
    Send
    | OpenStream
    | PushAudio
    | FinishStream
    | ReplaceContext
    | Postpone
    | CloseStream
    | CloseSocket
)
