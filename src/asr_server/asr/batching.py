"""Decide which streams form the next batch of a stage. Pure: no clock, no locks, no tensors.

VAD steps take a few milliseconds and decide which chunks are due and where sentences end, so VAD
has batches of its own that never wait for a decode step (docs/adr/0014-vad-stage.md). Both queues
share one set of streams in flight: a stream is in at most one step, of either stage.

A longer batching delay saves device time and costs every stream latency, so the delay is scaled by
the utilisation of the device.
"""

import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from asr_server.asr.types import Kind, StreamId

MAX_STEP_SHARE = 0.8
"""Share of the chunk period that the longest step and its batching delay may fill at capacity; the
rest is for VAD and for the variance of step times."""

MAX_VAD_DELAY_S = 0.040
"""Batching delay of VAD windows at full utilisation."""

MAX_BULK_CHUNKS = 4
"""Chunks of faster-than-realtime streams in one step while live streams are open: more would make
every step as long as a step can be."""

MAX_BULK_WAIT_S = 3.0
"""After this wait a faster-than-realtime chunk is ordered like a live one."""

MAX_PREVIEW_UTILISATION = 0.7
"""Utilisation by live audio above which previews are dropped."""

MAX_FIRST_PREVIEW_DELAY_S = 0.150
"""Delay of live audio above which previews are dropped even of sentences without text: such a
preview would not bring the first text earlier any more."""


@dataclass(frozen=True, slots=True)
class Load:
    """Hold how loaded the device is."""

    utilisation: float = 0.0
    """Share of recent time the workers decoded live audio, 0 to 1."""
    delay_s: float = 0.0
    """Time live audio takes from its arrival to its result."""
    without_previews: float = 0.0
    """Utilisation, previews left out."""
    lone_delay_s: float = 0.0
    """The delay of a step with a single chunk: what the processor takes at least."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """Hold what batching needs to know of a stream beside its work."""

    live: bool = True
    """Audio arrives in real time, not as fast as a file can be read."""
    ending: bool = False
    """No more audio comes: the client waits for the end of the task."""
    no_text_yet: bool = False
    """The open sentence has shown no text."""

    @property
    def urgent(self) -> bool:
        """Return whether the work skips the batching delay."""
        return self.ending and self.live


@dataclass(frozen=True, slots=True)
class Batch:
    """Hold the streams of the next step; falsy when no step is due."""

    streams: tuple[StreamId, ...] = ()
    waited_s: float = field(default=0.0, compare=False)
    """Queue time of the oldest live work."""
    live_share: float = field(default=1.0, compare=False)
    """Share of the works that are live audio."""

    def __bool__(self) -> bool:
        return bool(self.streams)


@dataclass(slots=True)
class _Waiting:
    since: float
    status: StreamStatus
    kind: Kind = Kind.COMMIT
    deadline: float = 0.0


class VadQueue:
    """Collect streams with VAD windows; every waiting stream goes into the next batch."""

    def __init__(self, in_flight: set[StreamId]) -> None:
        self._in_flight = in_flight
        self._waiting: dict[StreamId, _Waiting] = {}

    def offer(self, stream: StreamId, ready: bool, status: StreamStatus, now: float) -> None:
        """Note whether a stream has windows; repeating an offer keeps its waiting time.

        Offers of a stream in flight are ignored: its work is known when its step is done.
        """
        if stream in self._in_flight:
            return
        if ready:
            self._waiting.setdefault(stream, _Waiting(now, status)).status = status
        else:
            self._waiting.pop(stream, None)

    def withdraw(self, stream: StreamId) -> None:
        """Remove a closed stream."""
        self._waiting.pop(stream, None)

    def due_at(self, utilisation: float) -> float | None:
        """Return when the oldest windows must go, or None if none wait."""
        return _due_at(_idle(self._waiting, self._in_flight), utilisation * MAX_VAD_DELAY_S)

    def take(self, now: float, utilisation: float) -> Batch:
        """Return the next batch, or an empty one if waiting could fill it."""
        waiting = _idle(self._waiting, self._in_flight)
        due = self.due_at(utilisation)
        if due is None or now < due:
            return Batch()
        for stream in waiting:
            del self._waiting[stream]
        self._in_flight.update(waiting)
        return _batch(waiting, waiting, now)


class DecodeQueue:
    """Order chunks by earliest deadline, one chunk per stream per step.

    A chunk's deadline is one chunk period after it became ready, but not before one period after
    the stream's last chunk was taken. Finals are due at once, previews come last. Every second
    batch holds only streams that are ending, if any are. Chunks of faster-than-realtime streams
    come last and are few while live streams are open; alone they fill the batch.
    """

    def __init__(
        self,
        in_flight: set[StreamId],
        max_batch: int,
        max_batching_delay_s: float,
        chunk_period_s: float,
    ) -> None:
        self._in_flight = in_flight
        self._max_batch = max_batch
        self._max_batching_delay_s = max_batching_delay_s
        self._chunk_period_s = chunk_period_s
        self._waiting: dict[StreamId, _Waiting] = {}
        self._last_taken: dict[StreamId, float] = {}
        self._bulk: set[StreamId] = set()
        """Open streams that are faster than real time, with work or without."""
        self._last_was_ending = False
        self.dropped_previews = 0
        """Previews dropped under load since the queue was made."""

    def offer(self, stream: StreamId, kind: Kind | None, status: StreamStatus, now: float) -> None:
        """Note the chunk a stream has ready, or None; repeating an offer keeps its waiting time.

        Offers of a stream in flight are ignored: its work is known when its step is done.
        """
        if stream in self._in_flight:
            return
        if status.live:
            self._bulk.discard(stream)
        else:
            self._bulk.add(stream)
        waiting = self._waiting.get(stream)
        if kind is None:
            self._waiting.pop(stream, None)
        elif waiting is None or waiting.kind is not kind:
            deadline = self._deadline(stream, kind, now)
            self._waiting[stream] = _Waiting(now, status, kind, deadline)
        else:
            waiting.status = status

    @property
    def bulk_streams(self) -> int:
        """Return how many open streams are faster than real time."""
        return len(self._bulk)

    def withdraw(self, stream: StreamId) -> None:
        """Remove a closed stream."""
        self._waiting.pop(stream, None)
        self._last_taken.pop(stream, None)
        self._bulk.discard(stream)

    def limit_batch(self, chunks: int) -> None:
        """Take at most `chunks` chunks from now on."""
        self._max_batch = max(1, min(self._max_batch, chunks))

    def due_at(self, utilisation: float) -> float | None:
        """Return when the oldest chunk must go, or None if none waits."""
        delay_s = utilisation * self._max_batching_delay_s
        return _due_at(_idle(self._waiting, self._in_flight), delay_s)

    def take(
        self, now: float, streams: int, load: Load, workers: int = 1, free_workers: int = 1
    ) -> Batch:
        """Return the next batch, or an empty one if waiting could fill it.

        A batch goes when it is full, when all open streams (`streams` of them) are ready, or when
        the oldest chunk has waited the batching delay.
        """
        if load.utilisation > MAX_PREVIEW_UTILISATION:
            self._drop_previews(keep_first=load.delay_s <= MAX_FIRST_PREVIEW_DELAY_S)
        waiting = _idle(self._waiting, self._in_flight)
        due = self.due_at(load.utilisation)
        full = len(waiting) >= min(self._max_batch, max(1, streams))
        if not full and (due is None or now < due):
            return Batch()
        waiting = self._alternate_ending(waiting)
        share = self._fair_share(len(waiting), streams, workers, free_workers)
        chosen = self._choose(waiting, now, share, any_live=streams > len(self._bulk))
        for stream in chosen:
            del self._waiting[stream]
            self._last_taken[stream] = now
        self._in_flight.update(chosen)
        return _batch(chosen, waiting, now)

    def _choose(
        self, waiting: Mapping[StreamId, _Waiting], now: float, share: int, any_live: bool
    ) -> list[StreamId]:
        """Order the waiting chunks and cut them to one batch."""
        bulk_since = now - MAX_BULK_WAIT_S
        order = {
            stream: (
                not chunk.status.live and chunk.since > bulk_since,
                chunk.kind is Kind.PREVIEW,
                chunk.deadline,
            )
            for stream, chunk in waiting.items()
        }
        chosen = sorted(waiting, key=order.__getitem__)
        if any_live:
            bulk = sum(is_bulk for is_bulk, _, _ in order.values())
            chosen = chosen[: len(chosen) - max(0, bulk - MAX_BULK_CHUNKS)]
        return chosen[: min(self._max_batch, share)]

    def _alternate_ending(self, waiting: dict[StreamId, _Waiting]) -> dict[StreamId, _Waiting]:
        """Return only the streams that are ending, in every second batch if there are any."""
        ending = {stream: chunk for stream, chunk in waiting.items() if chunk.status.urgent}
        self._last_was_ending = bool(ending) and not self._last_was_ending
        return ending if self._last_was_ending else waiting

    def _fair_share(self, waiting: int, streams: int, workers: int, free_workers: int) -> int:
        """Return how many of the waiting chunks one worker may take.

        The waiting chunks are divided among the free workers. A worker that took the chunks of
        nearly all streams would be busy for so long that the other workers have as many again when
        it is done, so the last part is left to the next free worker.
        """
        share = math.ceil(waiting / free_workers)
        if workers == 1:
            return share
        return min(share, math.ceil(MAX_STEP_SHARE * streams / (workers + 1)))

    def _deadline(self, stream: StreamId, kind: Kind, now: float) -> float:
        if kind.final:
            return now
        last_taken = self._last_taken.get(stream, now - self._chunk_period_s)
        return max(now, last_taken) + self._chunk_period_s

    def _drop_previews(self, keep_first: bool) -> None:
        for stream, chunk in list(self._waiting.items()):
            if chunk.kind is Kind.PREVIEW and not (chunk.status.no_text_yet and keep_first):
                del self._waiting[stream]
                self.dropped_previews += 1


def _idle(
    waiting: Mapping[StreamId, _Waiting], in_flight: AbstractSet[StreamId]
) -> dict[StreamId, _Waiting]:
    """Return the waiting work of streams that are in no step."""
    return {stream: work for stream, work in waiting.items() if stream not in in_flight}


def _due_at(waiting: Mapping[StreamId, _Waiting], delay_s: float) -> float | None:
    return min(
        (work.since + (0.0 if work.status.urgent else delay_s) for work in waiting.values()),
        default=None,
    )


def _batch(chosen: Iterable[StreamId], waiting: Mapping[StreamId, _Waiting], now: float) -> Batch:
    streams = tuple(chosen)
    live = [waiting[stream].since for stream in streams if waiting[stream].status.live]
    return Batch(streams, now - min(live, default=now), len(live) / max(1, len(streams)))
