"""Which streams ride the next step. Pure: no clock, no locks, no tensors."""

from dataclasses import dataclass, field

from asr_server.asr.types import Kind, StreamId


@dataclass(frozen=True, slots=True)
class Policy:
    """How long work waits for company, and how much rides together. Times in seconds."""

    max_batch: int = 32
    """Chunks in one step; more would make everybody wait for a longer step."""
    max_wait_s: float = 0.010
    """How long a chunk may wait for company when the device is always busy."""
    max_judge_wait_s: float = 0.020
    """How long audio may wait to be judged by the VAD when the device is always busy."""
    chunk_period_s: float = 0.600
    """What a stream in real time leaves between its chunks: the deadline of a whole chunk."""
    max_previews_load: float = 0.7
    """Share of time the device may be busy before previews are dropped."""


@dataclass(slots=True)
class _Ready:
    kind: Kind
    since: float
    deadline: float


@dataclass(frozen=True, slots=True)
class Batch:
    """The next step's streams: either whose audio is judged or whose chunks are computed."""

    judge: tuple[StreamId, ...] = ()
    chunks: tuple[StreamId, ...] = ()
    waited_s: float = field(default=0.0, compare=False)
    """How long the oldest of the chunks waited."""

    def __bool__(self) -> bool:
        return bool(self.judge or self.chunks)


class Scheduler:
    """Earliest deadline first, one chunk per stream per step.

    A chunk's deadline is one chunk period after it became ready, but not before one period after
    the stream's last chunk was taken. So a file sent at once competes like one live stream, while
    alone it gets every step. Finals are due at once. Previews ride only where there is room.

    Judging takes a few milliseconds and decides what is due, so it has steps of its own, before and
    between those of chunks: inside one, everybody's next chunk would wait for it to end.

    Waiting for company saves time of the device and costs everybody's, so the less the device has
    to do, the shorter the wait.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._max_batch = policy.max_batch
        self._judge: dict[StreamId, float] = {}
        self._chunks: dict[StreamId, _Ready] = {}
        self._last_taken: dict[StreamId, float] = {}
        self._load = 0.0
        self._judged_last = False
        self.dropped_previews = 0
        """Previews left out because the device was busy; whoever counts them sets it back."""

    def offer(self, stream: StreamId, judge: bool, chunk: Kind | None, now: float) -> None:
        """Tell what a stream has ready; repeating it does not renew its waiting time."""
        if judge:
            self._judge.setdefault(stream, now)
        else:
            self._judge.pop(stream, None)
        ready = self._chunks.get(stream)
        if chunk is None:
            self._chunks.pop(stream, None)
        elif ready is None or ready.kind is not chunk:
            self._chunks[stream] = _Ready(chunk, now, self._deadline(stream, chunk, now))

    def forget(self, stream: StreamId) -> None:
        """The stream is gone."""
        self._judge.pop(stream, None)
        self._chunks.pop(stream, None)
        self._last_taken.pop(stream, None)

    def take(self, now: float, streams: int, load: float = 0.0) -> Batch:
        """The next step's streams, or nothing if waiting a little longer could fill it.

        `streams` counts the open streams, `load` is the share of recent time the device was busy,
        0 to 1.
        """
        self._load = load
        if load > self._policy.max_previews_load:
            self._drop_previews()
        if not self._due(now, streams):
            return Batch()
        # Of many streams somebody always has a window ready; chunks must get their turn.
        self._judged_last = bool(self._judge) and not (self._judged_last and self._chunks)
        return self._take_judge() if self._judged_last else self._take_chunks(now)

    def limit_batch(self, chunks: int) -> None:
        """Never again take more than `chunks` chunks at once."""
        self._max_batch = max(1, min(self._max_batch, chunks))

    def wake_at(self) -> float | None:
        """When something must go although it could still find company; None if nothing waits."""
        judge_wait_s, wait_s = (
            self._load * longest_s
            for longest_s in (self._policy.max_judge_wait_s, self._policy.max_wait_s)
        )
        times = [since + judge_wait_s for since in self._judge.values()]
        times += [ready.since + wait_s for ready in self._chunks.values()]
        return min(times, default=None)

    def _take_judge(self) -> Batch:
        judge = tuple(self._judge)
        self._judge.clear()
        return Batch(judge=judge)

    def _take_chunks(self, now: float) -> Batch:
        order = sorted(self._chunks.items(), key=lambda item: _order(item[1]))
        chunks = tuple(stream for stream, _ in order[: self._max_batch])
        oldest = min(self._chunks[stream].since for stream in chunks)
        for stream in chunks:
            del self._chunks[stream]
            self._last_taken[stream] = now
        return Batch(chunks=chunks, waited_s=now - oldest)

    def _deadline(self, stream: StreamId, kind: Kind, now: float) -> float:
        if kind.final:
            return now
        last_taken = self._last_taken.get(stream, now - self._policy.chunk_period_s)
        return max(now, last_taken) + self._policy.chunk_period_s

    def _due(self, now: float, streams: int) -> bool:
        if len(self._chunks) >= min(self._max_batch, max(1, streams)):
            return True
        wake_at = self.wake_at()
        return wake_at is not None and now >= wake_at

    def _drop_previews(self) -> None:
        for stream in [s for s, ready in self._chunks.items() if ready.kind is Kind.PREVIEW]:
            del self._chunks[stream]
            self.dropped_previews += 1


def _order(ready: _Ready) -> tuple[bool, float]:
    return ready.kind is Kind.PREVIEW, ready.deadline
