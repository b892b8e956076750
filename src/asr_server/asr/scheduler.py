"""Connect the streams, the queues and the workers of one loaded backend.

A VAD stage and a decode stage run side by side (see `stage`); what goes into a batch is decided by
the queues (see `batching`), and the time that steps take feeds admission.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.admission import Admission
from asr_server.asr.batching import Batch, DecodeQueue, Load, StreamStatus, VadQueue
from asr_server.asr.second_pass_stage import SecondPassStage
from asr_server.asr.stage import Stage
from asr_server.asr.stream import Stream
from asr_server.asr.types import (
    DUMMY_SLOT,
    Backend,
    DecodeResult,
    DecodeWork,
    Kind,
    Slot,
    StreamId,
    VadWork,
)
from asr_server.asr.worker import Workers
from asr_server.audio.endpointer import WINDOW
from asr_server.audio.units import SAMPLE_RATE
from asr_server.errors import AsrError, EngineError
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings

log = logging.getLogger(__name__)

Work = TypeVar("Work", VadWork, DecodeWork)
Result = TypeVar("Result")
Probabilities: TypeAlias = NDArray[np.float32]


class Scheduler:
    """Step all open streams through VAD and decoding."""

    def __init__(
        self, backend: Backend, workers: Workers, settings: Settings, metrics: Metrics
    ) -> None:
        period_s = backend.geometry.stride / SAMPLE_RATE
        self._clock = asyncio.get_running_loop().time
        self._workers = workers
        self._metrics = metrics
        self._decode_threads = backend.workers
        self._streams: dict[StreamId, Stream] = {}
        self._free_slots = list(range(backend.slots - 1, DUMMY_SLOT, -1))
        self._slots: dict[StreamId, Slot] = {}
        """Slots of open streams, and of closed ones that are in flight."""
        self._in_flight: set[StreamId] = set()
        self._admission = Admission(settings.max_delay_ms / 1000, period_s, backend.workers)
        self._vad_queue = VadQueue(self._in_flight)
        self._decode_queue = DecodeQueue(
            self._in_flight, settings.max_batch, settings.max_batching_delay_ms / 1000, period_s
        )
        self._vad_stage = Stage(
            self._take_vad,
            lambda batch: [self._streams[stream].cut_windows() for stream in batch.streams],
            workers.detect,
            self._deliver_vad,
            lambda: self._vad_queue.due_at(self._admission.utilisation(self._clock())),
            probe=VadWork(DUMMY_SLOT, True, np.zeros(WINDOW, np.float32)),
        )
        silence = np.zeros(backend.geometry.stride, np.float32)
        self._decode_stage = Stage(
            self._take_decode,
            lambda batch: [self._streams[stream].cut_chunk() for stream in batch.streams],
            workers.decode,
            self._deliver_decode,
            lambda: self._decode_queue.due_at(self._admission.utilisation(self._clock())),
            probe=DecodeWork(DUMMY_SLOT, Kind.PREVIEW, True, silence),
            out_of_memory=self._out_of_memory,
        )
        self.second_pass: SecondPassStage | None = None
        """None without an offline model."""
        if backend.second_pass:
            self.second_pass = SecondPassStage(
                workers, settings, metrics, self._streams, self._live_load
            )
        self.decoded = False
        """Whether a decode step has succeeded."""

    async def run(self) -> None:
        """Run both stages until the device dies. Raises `DeviceDeadError`."""
        loops = [asyncio.create_task(self._vad_stage.run(), name="vad")]
        for number in range(self._decode_threads):
            loops.append(asyncio.create_task(self._decode_stage.run(), name=f"decode {number}"))
        second_pass = []
        if self.second_pass:
            second_pass.append(asyncio.create_task(self.second_pass.run(), name="second pass"))
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        finally:
            for loop in (*loops, *second_pass):
                loop.cancel()
            await asyncio.gather(*loops, *second_pass, return_exceptions=True)

    # Streams ------------------------------------------------------------------------------------

    @property
    def open_streams(self) -> int:
        """Return the number of open streams."""
        return len(self._streams)

    @property
    def used_slots(self) -> int:
        """Return the number of slots of streams that are open or in flight."""
        return len(self._slots)

    @property
    def delay_s(self) -> float:
        """Return how long live audio takes from its arrival to its result."""
        return self._admission.delay(self._clock(), len(self._streams))

    def decoder_waited(self, waited_s: float) -> None:
        """Count the queueing delay of compressed live audio for admission."""
        self._admission.decoder_waited(self._clock(), waited_s)

    def allocate(self) -> Slot | None:
        """Return a free slot for `add`, or None if a further stream would delay the others."""
        if not self._free_slots or not self._admission.admits(self._clock(), len(self._streams)):
            return None
        return self._free_slots[-1]

    @property
    def full(self) -> bool:
        """Return whether `allocate` would return None; asking changes nothing."""
        full = self._admission.full(self._clock(), len(self._streams))
        return full or not self._free_slots

    def add(self, stream: Stream) -> None:
        """Take up a stream with the slot that `allocate` returned."""
        self._streams[stream.id] = stream
        self._slots[stream.id] = self._free_slots.pop()

    def offer(self, stream: Stream) -> None:
        """Queue what a stream has ready and wake the stages; a closed stream has nothing."""
        if stream.id not in self._streams:
            return
        now = self._clock()
        status = StreamStatus(stream.live, stream.finishing, stream.no_text_yet)
        windows, chunk = stream.windows_due, stream.chunk_due
        self._vad_queue.offer(stream.id, windows, status, now)
        self._decode_queue.offer(stream.id, chunk, status, now)
        # Windows that come before a batch is due go with that batch.
        if windows and (self._vad_stage.sleeps_until is None or status.ending):
            self._vad_stage.wake()
        if chunk is not None:
            self._decode_stage.wake()
        if self.second_pass:
            self.second_pass.offer(stream)

    def remove(self, stream: Stream) -> None:
        """Forget a closed stream; its slot is free once nothing of it is in flight."""
        if self._streams.pop(stream.id, None) is not None:
            self._vad_queue.withdraw(stream.id)
            self._decode_queue.withdraw(stream.id)
            if self.second_pass:
                self.second_pass.remove(stream)
            self._release_slot(stream.id)

    def fail_all(self, error: AsrError) -> None:
        """End every stream with an error."""
        for stream in list(self._streams.values()):
            stream.fail(error)
            stream.close()

    def _release_slot(self, stream: StreamId) -> None:
        if stream not in self._streams and stream not in self._in_flight:
            self._free_slots.append(self._slots.pop(stream))

    def _live_load(self) -> Load | None:
        """Return utilisation and delay, or None while no stream is live."""
        streams = len(self._streams)
        any_live = streams > self._decode_queue.bulk_streams
        return self._admission.load(self._clock(), streams) if any_live else None

    # Take and deliver ---------------------------------------------------------------------------

    def _take_vad(self, now: float) -> Batch:
        batch = self._vad_queue.take(now, self._admission.utilisation(now))
        if batch:
            self._admission.vad_began(now)
        return batch

    def _deliver_vad(
        self,
        batch: Batch,
        works: list[VadWork],
        results: list[Probabilities | Exception],
        began: float,
    ) -> None:
        now = self._clock()
        self._admission.vad_ended(now, batch.waited_s)
        self._metrics.vad_seconds.inc(now - began)
        for stream, _, probabilities in self._land(batch, works, results):
            stream.accept_probabilities(probabilities)
            self.offer(stream)

    def _take_decode(self, now: float) -> Batch:
        streams, queue = len(self._streams), self._decode_queue
        load, dropped = self._admission.load(now, streams), queue.dropped_previews
        batch = queue.take(now, streams, load, self._decode_threads, self._workers.free)
        self._metrics.dropped_previews.inc(queue.dropped_previews - dropped)
        if batch:
            self._admission.decode_began(now, streams)
        return batch

    def _deliver_decode(
        self,
        batch: Batch,
        works: list[DecodeWork],
        results: list[DecodeResult | Exception],
        began: float,
    ) -> None:
        now, chunks, streams = self._clock(), len(works), len(self._streams)
        previews = sum(work.kind is Kind.PREVIEW for work in works)
        self._admission.decode_ended(
            began, now, streams, chunks, batch.waited_s, batch.live_share, previews
        )
        self._metrics.stepped(now - began, chunks, batch.waited_s, self._decode_threads)
        for stream, work, result in self._land(batch, works, results):
            self.decoded = True
            stream.accept_chunk(work, result)
            self.offer(stream)

    def _land(
        self, batch: Batch, works: Sequence[Work], results: Sequence[Result | Exception]
    ) -> Iterator[tuple[Stream, Work, Result]]:
        """Yield the results of streams that are still open; fail streams without a result."""
        self._in_flight.difference_update(batch.streams)
        for stream_id in batch.streams:
            self._release_slot(stream_id)
        for stream_id, work, result in zip(batch.streams, works, results, strict=True):
            if (stream := self._streams.get(stream_id)) is None:
                continue
            if isinstance(result, Exception):
                stream.fail(EngineError())
                stream.close()
            else:
                yield stream, work, result

    def _out_of_memory(self, chunks: int) -> None:
        log.error("out of device memory: batches get smaller", extra={"chunks": chunks // 2})
        self._decode_queue.limit_batch(chunks // 2)
