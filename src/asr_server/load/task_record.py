"""The record that a client keeps of one task."""

from dataclasses import dataclass, field

from asr_server.load.recordings import Recording


@dataclass(frozen=True, slots=True)
class Result:
    """A result and the time of its arrival."""

    at: float
    text: str
    final: bool


@dataclass(slots=True)
class TaskRecord:
    """One task as its client saw it; times in seconds on the event loop's clock."""

    recording: Recording
    began: float
    """When the first frame began; a frame is sent when it is over, one frame later."""
    results: list[Result] = field(default_factory=list)
    finish_sent: float | None = None
    """When finish-task was sent."""
    ended: float | None = None
    error: str | None = None
    """A code, if the task did not finish."""
    refused: bool = False
    """The server had no capacity, which is no failure."""
    sent: int = 0
    """Frames."""
    late: list[tuple[float, float]] = field(default_factory=list)
    """For every frame, its due time and how late this program itself was in sending it."""

    @property
    def finished(self) -> bool:
        """Return whether task-finished came."""
        return None not in (self.finish_sent, self.ended) and self.error is None

    @property
    def whole(self) -> bool:
        """Return whether all frames were sent."""
        return self.sent == len(self.recording.frames)

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the finals."""
        return tuple(result.text for result in self.results if result.final)
