"""Which streams ride the next step. Pure: no clock, no locks, no tensors."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from asr_server.asr.types import Kind, StreamId

T = TypeVar("T")

FILLED = 0.8
"""How much of a chunk's period the longest step and the wait for it may fill, if the machine just
holds the streams: the rest is for judging and for steps that take longer than others."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long work waits for company, and how much rides together. Times in seconds."""

    max_batch: int = 32
    """Chunks in one step; more would make everybody wait for a longer step."""
    max_uploads: int = 4
    """Chunks of files sent at once in one step, as long as anybody speaks live."""
    max_upload_wait_s: float = 3.0
    """How long live streams may go before such a chunk."""
    max_wait_s: float = 0.010
    """How long a chunk may wait for company when the device is always busy."""
    max_judge_wait_s: float = 0.040
    """How long audio may wait to be judged by the VAD when the device is always busy."""
    chunk_period_s: float = 0.600
    """What a stream in real time leaves between its chunks: the deadline of a whole chunk."""
    max_previews_load: float = 0.7
    """Share of time the device may be busy with live audio before previews are dropped."""
    max_first_previews_delay_s: float = 0.150
    """How long live audio may take through the device before previews are dropped also of sentences
    that show no text yet: they would not bring it early any more."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a stream has ready."""

    judge: bool = False
    """Audio for the VAD."""
    chunk: Kind | None = None
    live: bool = True
    """The audio comes as it is spoken, and not as quickly as it is read from a file."""
    awaited: bool = False
    """The sentence shows no text yet."""
    ending: bool = False
    """No more audio comes: somebody waits for the end of the task."""


@dataclass(frozen=True, slots=True)
class Strain:
    """How hard the device has to work."""

    load: float = 0.0
    """Share of recent time it was busy with live audio, 0 to 1."""
    delay_s: float = 0.0
    """How long live audio takes through it."""


@dataclass(slots=True)
class _Ready:
    kind: Kind
    since: float
    deadline: float
    live: bool
    awaited: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """The next step's streams: either whose audio is judged or whose chunks are computed."""

    judge: tuple[StreamId, ...] = ()
    chunks: tuple[StreamId, ...] = ()
    waited_s: float = field(default=0.0, compare=False)
    """How long the oldest of its live work waited."""
    live: float = field(default=1.0, compare=False)
    """Share of live audio in the chunks."""

    def __bool__(self) -> bool:
        return bool(self.judge or self.chunks)

    @property
    def streams(self) -> tuple[StreamId, ...]:
        """Everybody who rides."""
        return self.judge + self.chunks


class Scheduler:
    """Earliest deadline first, one chunk per stream per step.

    Judging takes a few milliseconds and decides what is due and where sentences end. So it has
    steps of its own, which wait for none with chunks (docs/adr/0014-judging-beside.md).

    A chunk's deadline is one chunk period after it became ready, but not before one period after
    the stream's last chunk was taken. Finals are due at once. Previews ride only where there is
    room. What is left of a task that was finished waits neither for company nor for a step with
    others: it gets every other one for itself. Chunks of files sent at once come last and are few
    while anybody speaks live, or every step would be as long as a step can be; alone they get all
    of the machine.

    Waiting for company saves time of the device and costs everybody's, so the less the device has
    to do, the shorter the wait.

    A stream rides one step at a time: from when it is taken to `done` nothing else of it is.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._max_batch = policy.max_batch
        self._judge: dict[StreamId, float] = {}
        self._chunks: dict[StreamId, _Ready] = {}
        self._last_taken: dict[StreamId, float] = {}
        self._uploading: set[StreamId] = set()
        self._hurried: set[StreamId] = set()
        """Live streams whose end somebody waits for."""
        self.riding: set[StreamId] = set()
        """Streams in steps that are not done."""
        self._load = 0.0
        self._hurried_last = False
        self.dropped_previews = 0
        """Previews left out because the device was busy; whoever counts them sets it back."""

    def offer(self, stream: StreamId, offer: Offer, now: float) -> None:
        """Tell what a stream has ready; repeating it does not renew its waiting time.

        Of a stream that rides nothing is taken in: what is ready is known when its step is done.
        """
        if stream in self.riding:
            return
        if offer.judge:
            self._judge.setdefault(stream, now)
        else:
            self._judge.pop(stream, None)
        for streams, belongs in (
            (self._uploading, not offer.live),
            (self._hurried, offer.ending and offer.live),
        ):
            if belongs:
                streams.add(stream)
            else:
                streams.discard(stream)
        ready = self._chunks.get(stream)
        if offer.chunk is None:
            self._chunks.pop(stream, None)
        elif ready is None or ready.kind is not offer.chunk:
            deadline = self._deadline(stream, offer.chunk, now)
            self._chunks[stream] = _Ready(offer.chunk, now, deadline, offer.live, offer.awaited)
        else:
            ready.live, ready.awaited = offer.live, offer.awaited

    def forget(self, stream: StreamId) -> None:
        """The stream is gone."""
        self._judge.pop(stream, None)
        self._chunks.pop(stream, None)
        self._last_taken.pop(stream, None)
        self._uploading.discard(stream)
        self._hurried.discard(stream)

    def take_judge(self, now: float, load: float = 0.0) -> Batch:
        """Whose audio the next step judges; nobody if waiting a little longer saves a step.

        `load` is `Strain.load`.
        """
        self._load = load
        waiting = self._standing(self._judge)
        due = self.judge_at()
        if due is None or now < due:
            return Batch()
        for stream in waiting:
            del self._judge[stream]
        self.riding.update(waiting)
        live = [since for stream, since in waiting.items() if stream not in self._uploading]
        return Batch(judge=tuple(waiting), waited_s=now - min(live, default=now))

    def take_chunks(
        self,
        now: float,
        streams: int,
        strain: Strain | None = None,
        lanes: int = 1,
        free_lanes: int = 1,
    ) -> Batch:
        """Whose chunks the next step computes; nobody's if waiting a little longer could fill it.

        `streams` counts the open streams, `lanes` the steps that run side by side, `free_lanes` how
        many could begin now.
        """
        strain = strain or Strain()
        self._load = strain.load
        if strain.load > self._policy.max_previews_load:
            spared = strain.delay_s <= self._policy.max_first_previews_delay_s
            self._drop_previews(spare_awaited=spared)
        waiting = self._standing(self._chunks)
        due = self.chunks_at()
        full = len(waiting) >= min(self._max_batch, max(1, streams))
        if not full and (due is None or now < due):
            return Batch()
        waiting = self._without_others(waiting)
        anybody_live = streams > len(self._uploading)
        most = self._fair_share(len(waiting), streams, lanes, free_lanes)
        batch = self._cut(waiting, now, most, anybody_live)
        self.riding.update(batch.chunks)
        return batch

    def done(self, streams: Iterable[StreamId]) -> None:
        """The step with these streams is over."""
        self.riding.difference_update(streams)

    def limit_batch(self, chunks: int) -> None:
        """Never again take more than `chunks` chunks at once."""
        self._max_batch = max(1, min(self._max_batch, chunks))

    def judge_at(self) -> float | None:
        """When audio must be judged although it could still find company; None if none waits."""
        return self._due_at(self._standing(self._judge), self._policy.max_judge_wait_s)

    def chunks_at(self) -> float | None:
        """When chunks must go although they could still find company; None if none waits."""
        waiting = {stream: ready.since for stream, ready in self._standing(self._chunks).items()}
        return self._due_at(waiting, self._policy.max_wait_s)

    def _due_at(self, waiting: Mapping[StreamId, float], longest_s: float) -> float | None:
        wait_s = self._load * longest_s
        return min(
            (
                since if stream in self._hurried else since + wait_s
                for stream, since in waiting.items()
            ),
            default=None,
        )

    def _standing(self, waiting: Mapping[StreamId, T]) -> dict[StreamId, T]:
        """Of what waits, that of streams that ride no step."""
        return {stream: what for stream, what in waiting.items() if stream not in self.riding}

    def _without_others(self, waiting: dict[StreamId, _Ready]) -> dict[StreamId, _Ready]:
        """The chunks of streams that end, every other time; otherwise all that wait."""
        hurried = {s: ready for s, ready in waiting.items() if s in self._hurried}
        self._hurried_last = bool(hurried) and not self._hurried_last
        return hurried if self._hurried_last else waiting

    def _fair_share(self, waiting: int, streams: int, lanes: int, free_lanes: int) -> int:
        """How many of the waiting chunks one lane may take.

        What is there is divided among the free lanes. A lane that took nearly all streams' chunks
        would be busy for so long that the others have as many again when it is done: so the last
        part is left to whoever is free next.
        """
        share = math.ceil(waiting / free_lanes)
        return share if lanes == 1 else min(share, math.ceil(FILLED * streams / (lanes + 1)))

    def _cut(
        self, waiting: Mapping[StreamId, _Ready], now: float, most: int, anybody_live: bool
    ) -> Batch:
        patient_since = now - self._policy.max_upload_wait_s
        order = {stream: _order(ready, patient_since) for stream, ready in waiting.items()}
        chunks = sorted(waiting, key=order.__getitem__)
        if anybody_live:
            uploads = sum(last for last, _, _ in order.values())
            chunks = chunks[: len(chunks) - max(0, uploads - self._policy.max_uploads)]
        chunks = chunks[: min(self._max_batch, most)]
        for stream in chunks:
            del self._chunks[stream]
            self._last_taken[stream] = now
        live = [waiting[stream].since for stream in chunks if waiting[stream].live]
        return Batch(
            chunks=tuple(chunks),
            waited_s=now - min(live, default=now),
            live=len(live) / len(chunks),
        )

    def _deadline(self, stream: StreamId, kind: Kind, now: float) -> float:
        if kind.final:
            return now
        last_taken = self._last_taken.get(stream, now - self._policy.chunk_period_s)
        return max(now, last_taken) + self._policy.chunk_period_s

    def _drop_previews(self, spare_awaited: bool) -> None:
        for stream, ready in list(self._chunks.items()):
            if ready.kind is Kind.PREVIEW and not (ready.awaited and spare_awaited):
                del self._chunks[stream]
                self.dropped_previews += 1


def _order(ready: _Ready, patient_since: float) -> tuple[bool, bool, float]:
    """Uploads that have waited since later than that go last, previews after chunks."""
    upload = not ready.live and ready.since > patient_since
    return upload, ready.kind is Kind.PREVIEW, ready.deadline
