"""What goes into a session and what comes out of it."""

from dataclasses import dataclass

from asr_server.errors import AsrError
from asr_server.protocol.commands import ContinueTask, FinishTask, Rejected, RunTask
from asr_server.protocol.events import Sentence
from asr_server.recognition import EndOfStream, Hypothesis
from asr_server.state.task import Task

# Inputs: the client's are commands and these ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audio:
    """A binary frame."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """The client closed the connection, or lost it."""


# Inputs: the recogniser's -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """The task has its place in the recogniser."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The task cannot go on: its audio cannot be decoded, or the recogniser failed."""

    error: AsrError


# Inputs: time's -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by, at least until `Session.deadline`."""

    reading: bool = True
    """False while the server itself leaves the socket unread: the client's silence is our doing."""


Input = (
    RunTask
    | ContinueTask
    | FinishTask
    | Rejected
    | Audio
    | Gone
    | Opened
    | Hypothesis
    | EndOfStream
    | Failed
    | Tick
)
FROM_RECOGNISER = (Opened, Hypothesis, EndOfStream, Failed)


# Outputs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """A text frame for the client."""

    frame: str
    passing: bool = False
    """An interim result: worth nothing once a newer result is to be sent."""
    tells: Sentence | AsrError | None = None
    """What the frame says, for those who measure."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Take a place in the recogniser; the answer is `Opened` or `Failed`."""

    task: Task


@dataclass(frozen=True, slots=True)
class PushAudio:
    """More of the task's audio, in the format its task declared."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FinishStream:
    """There is no more audio; the answer is `EndOfStream` or `Failed`."""


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Give the place back; nothing more is wanted of it."""


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the connection once everything sent before has left."""

    code: int
    reason: str


Output = Send | OpenStream | PushAudio | FinishStream | CloseStream | CloseSocket
