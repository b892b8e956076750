"""What one client notes of one task."""

from dataclasses import dataclass, field

from asr_server.load.recordings import Recording


@dataclass(frozen=True, slots=True)
class Shown:
    """A result when it arrived."""

    at: float
    sentence: int
    text: str
    final: bool


@dataclass(slots=True)
class Account:
    """What became of one task; times in seconds on the event loop's clock."""

    recording: Recording
    began: float
    """When the first frame was begun to be recorded; it is sent one frame later."""
    shown: list[Shown] = field(default_factory=list)
    asked: float | None = None
    """When finish-task was sent."""
    ended: float | None = None
    error: str | None = None
    """A code, if the task did not finish."""
    refused: bool = False
    """The server had no place; not a failure."""
    sent: int = 0
    """Frames."""
    late: list[tuple[float, float]] = field(default_factory=list)
    """For every frame, when it was due and how late this program was with it by its own fault."""

    @property
    def finished(self) -> bool:
        """Whether task-finished came."""
        return None not in (self.asked, self.ended) and self.error is None

    @property
    def whole(self) -> bool:
        """Whether everything was sent."""
        return self.sent == len(self.recording.frames)

    @property
    def texts(self) -> tuple[str, ...]:
        """The finals."""
        return tuple(one.text for one in self.shown if one.final)
