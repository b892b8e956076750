"""The loop: which streams are open, what rides each step, where the results go.

Everything here runs on the event loop; steps run on the device's threads.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from asr_server.asr.admission import Admission, Limits
from asr_server.asr.batching import Batch, Offer, Policy, Scheduler, Strain
from asr_server.asr.busy import BusyShare
from asr_server.asr.hotwords import compiled
from asr_server.asr.stream import Stream
from asr_server.asr.types import (
    Backend,
    DeviceLostError,
    LoadError,
    OutOfMemoryError,
    Step,
    StepResult,
    StreamId,
    StreamOptions,
)
from asr_server.asr.worker import Device, DeviceDeadError
from asr_server.audio.units import Samples, from_ms
from asr_server.errors import AsrError, EngineDead, EngineError, Throttled
from asr_server.observability.logs import fault
from asr_server.observability.metrics import Metrics

log = logging.getLogger(__name__)

Compute = Callable[[Step], Awaitable[StepResult]]
"""On one of the device's threads."""

EngineState = Literal["loading", "ready", "restarting", "failed"]

RESTART_PAUSES_S = (0.0, 1.0, 5.0, 30.0)
"""Waits before the first and further attempts to bring a dead device back; the last repeats."""

LAST_HOPE = 4
"""Attempts that find no GPU, after which nothing in this process will."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs, whatever the model."""

    max_streams: int = 256
    """Tasks at once; one more is told to come again."""
    preview_interval_ms: int = 200
    """New audio worth another preview of an open sentence; 0 turns previews off."""
    policy: Policy = Policy()
    limits: Limits = Limits(max_delay_s=0)
    """When tasks are refused although there are slots."""
    step_timeout_s: float = 60.0
    """A step that takes longer hangs, and the device is given up."""
    failed_steps: int = 3
    """Steps of a lane in a row in which nobody got through, after which the device is given up."""


class Engine:
    """Recognises all streams with one backend.

    `load` builds the backend and warms it up; it runs on a thread of the device, at the start and
    again if a thread or the model died.
    """

    def __init__(
        self,
        load: Callable[[], Backend],
        options: EngineOptions | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._options = options or EngineOptions()
        self._device = Device(load, self._options.step_timeout_s)
        self._scheduler = Scheduler(self._options.policy)
        self._admission = Admission(self._options.limits)
        self._streams: dict[StreamId, Stream] = {}
        self._ids = itertools.count(1)
        self._opened: set[StreamId] = set()
        self._closed: set[StreamId] = set()
        """What the device has yet to hear of births and deaths."""
        self._attempts = 0
        """To bring the device back, since it last computed a chunk."""
        self._judge_woken = asyncio.Event()
        self._judge_at: float | None = None
        """When audio is judged at the latest, None while there is none: what comes before that goes
        with it and wakes nobody."""
        self._chunks_woken = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="hotwords")
        self.state: EngineState = "loading"
        """`failed` is `restarting` after an attempt that did not succeed."""
        self.trouble = ""
        """Why the state is `failed`, in a sentence for who runs the server."""
        self.lost = asyncio.Event()
        """Set when nothing but a new process can bring the device back."""
        self._busy = BusyShare()
        self._metrics = metrics or Metrics()
        self._metrics.slots.set(self._options.max_streams)
        self._metrics.used_slots.set_function(lambda: len(self._streams))
        self._metrics.live_delay.set_function(
            lambda: self._admission.delay(time.monotonic(), len(self._streams))
        )

    # The application's face ---------------------------------------------------------------------

    async def start(self) -> None:
        """Load the model, warm it up and begin to step; then the engine is `ready`.

        Raises LoadError with what to do, or whatever else loading raises.
        """
        await self._device.start()
        self._loop_task = asyncio.create_task(self._run(), name="engine")
        self.state = "ready"

    async def stop(self) -> None:
        """Stop stepping; open streams end with an error."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.wait({self._loop_task})
            self._loop_task = None
        self.state = "loading"
        self._fail_all(EngineError())
        self._compiler.shutdown(wait=False, cancel_futures=True)
        await self._device.stop()

    @property
    def ready(self) -> bool:
        """Whether streams can be opened."""
        return self.state == "ready"

    @property
    def model_name(self) -> str:
        """Name of the loaded model, or nothing before it is loaded."""
        return self._device.backend.name if self._device.backend else ""

    @property
    def device(self) -> str:
        """Where the model runs, or nothing before it is loaded."""
        return self._device.backend.device if self._device.backend else ""

    @property
    def dtype(self) -> str:
        """Precision of the weights, or nothing before they are loaded."""
        return self._device.backend.dtype if self._device.backend else ""

    @property
    def gpu(self) -> str | None:
        """UUID of the GPU that computes, if one does."""
        return self._device.backend.gpu if self._device.backend else None

    @property
    def open_streams(self) -> int:
        """Streams open now."""
        return len(self._streams)

    async def prepare(self, hotwords: tuple[tuple[str, int], ...]) -> None:
        """Compile words that a stream is about to be opened with; `open` finds them compiled.

        That takes 0.1 s for 2000 words, which the streams that run need not notice.
        """
        backend = self._device.backend
        if hotwords and backend is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._compiler, compiled, hotwords, backend.vocabulary)

    def open(self, options: StreamOptions) -> Stream:
        """A new stream; raises `Throttled` when full or too busy and `EngineError` when not ready.

        Raises `ValueError` with a sentence for the client when a hotword is none.
        """
        backend = self._device.backend
        if backend is None:
            raise EngineError
        streams = len(self._streams)
        now = asyncio.get_running_loop().time()
        if streams >= self._options.max_streams or not self._admission.admits(now, streams):
            raise Throttled
        stream = Stream(
            next(self._ids),
            options,
            backend.geometry,
            self._preview_interval,
            on_change=self._changed,
            on_close=self._forget,
            clock=asyncio.get_running_loop().time,
            hotwords=compiled(options.hotwords, backend.vocabulary) if options.hotwords else None,
        )
        self._streams[stream.id] = stream
        self._opened.add(stream.id)
        return stream

    # The loop -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                await self._serve()
            except Exception as exc:  # the device is dead, or we made a mistake
                about = {"tasks": len(self._streams), **fault(exc)}
                log.critical("the recogniser failed; every task fails", extra=about)
                if not await self._revive():
                    return

    async def _serve(self) -> None:
        """Judge, and compute chunks on every lane, until the device dies."""
        self._busy = BusyShare(self._device.lanes)
        steppers = [
            asyncio.create_task(self._judge_for_ever(), name="judge"),
            *(
                asyncio.create_task(self._hear_for_ever(), name=f"lane {number}")
                for number in range(self._device.lanes)
            ),
        ]
        try:
            done, _ = await asyncio.wait(steppers, return_when=asyncio.FIRST_COMPLETED)
            for stepper in done:
                stepper.result()
        finally:
            for stepper in steppers:
                stepper.cancel()
            await asyncio.gather(*steppers, return_exceptions=True)

    async def _judge_for_ever(self) -> None:
        clock = asyncio.get_running_loop().time
        failed = 0
        while True:
            now = clock()
            batch = self._scheduler.take_judge(now, self._busy.at(now))
            if not batch:
                self._judge_at = self._scheduler.judge_at()
                await _sleep_until(self._judge_at, self._judge_woken)
                continue
            self._admission.judging(now)
            results = await self._compute(self._cut_judge(batch), self._device.judge)
            ended = clock()
            self._admission.judged(ended, batch.waited_s)
            self._metrics.vad_seconds.inc(ended - now)
            failed = self._finish(batch, results, failed)

    async def _hear_for_ever(self) -> None:
        clock = asyncio.get_running_loop().time
        failed = 0
        while True:
            batch = self._take_chunks(clock())
            if not batch:
                await _sleep_until(self._scheduler.chunks_at(), self._chunks_woken)
                continue
            began = clock()
            self._admission.began(began, len(self._streams))
            results = await self._compute(self._cut_chunks(batch), self._device.hear)
            ended = clock()
            self._admission.ended(
                began, ended, len(self._streams), len(batch.chunks), batch.waited_s
            )
            self._busy.add(ended, (ended - began) * batch.live)
            self._metrics.stepped(
                ended - began, len(batch.chunks), batch.waited_s, self._device.lanes
            )
            failed = self._finish(batch, results, failed)
            if not failed:
                self._attempts = 0

    def _finish(self, batch: Batch, results: list[tuple[Step, StepResult]], failed: int) -> int:
        """Hand out what a step gave; how many steps in a row have failed now, `failed` before it.

        Raises `DeviceDeadError` when they are too many.
        """
        self._scheduler.done(batch.streams)
        for step, result in results:
            self._deliver(step, result)
        if results:
            return 0
        if failed + 1 >= self._options.failed_steps:
            raise DeviceDeadError(f"{failed + 1} steps in a row failed")
        return failed + 1

    def _take_chunks(self, now: float) -> Batch:
        """The next step's chunks, if it is time for them."""
        strain = Strain(self._busy.at(now), self._admission.delay(now, len(self._streams)))
        batch = self._scheduler.take_chunks(
            now, len(self._streams), strain, self._device.lanes, self._device.free_lanes
        )
        if self._scheduler.dropped_previews:
            self._metrics.dropped_previews.inc(self._scheduler.dropped_previews)
            self._scheduler.dropped_previews = 0
        return batch

    async def _revive(self) -> bool:
        """End every stream and start the device anew; False if only a new process can do that."""
        self.state = "restarting"
        self._device.abandon()
        self._fail_all(EngineDead())
        self._scheduler.done(tuple(self._scheduler.riding))
        self._opened, self._closed = set(), set()
        self._admission = Admission(self._options.limits)
        lost = 0
        while lost < LAST_HOPE:
            await asyncio.sleep(RESTART_PAUSES_S[min(self._attempts, len(RESTART_PAUSES_S) - 1)])
            self._attempts += 1
            try:
                await self._device.start()
            except Exception as exc:
                self._device.abandon()
                self.state, self.trouble = "failed", _trouble(exc)
                log.error("the recogniser does not start: %s", self.trouble, extra=fault(exc))
                lost += isinstance(exc, (DeviceLostError, asyncio.TimeoutError))
            else:
                self.state, self.trouble = "ready", ""
                self._metrics.device_restarts.inc()
                log.warning("the recogniser is back", extra={"device": self.device})
                return True
        self.lost.set()
        return False

    def _cut_judge(self, batch: Batch) -> Step:
        # A birth goes before the stream's first work, which is always to be judged; a death not
        # before its last is done. Both on one thread, or a slot would be asked for before it is
        # given back.
        opened = tuple(stream for stream in batch.judge if stream in self._opened)
        closed = tuple(self._closed - self._scheduler.riding)
        self._opened.difference_update(opened)
        self._closed.difference_update(closed)
        works = tuple(self._streams[stream].cut_judge() for stream in batch.judge)
        return Step(opened, closed, judge=works)

    def _cut_chunks(self, batch: Batch) -> Step:
        return Step(chunks=tuple(self._streams[stream].cut_chunk() for stream in batch.chunks))

    async def _compute(self, step: Step, compute: Compute) -> list[tuple[Step, StepResult]]:
        """Compute a step, in parts if need be; streams whose own part fails end."""
        try:
            return [(step, await compute(step))]
        except DeviceDeadError:
            raise
        except OutOfMemoryError:
            chunks = max(1, len(step.chunks) // 2)
            self._scheduler.limit_batch(chunks)
            about = {"chunks": chunks}
            log.error("out of device memory: from now on fewer chunks a step", extra=about)
        except Exception as exc:
            log.error("a step failed; it is repeated stream by stream", extra=fault(exc))
        return await self._one_by_one(step, compute)

    async def _one_by_one(self, step: Step, compute: Compute) -> list[tuple[Step, StepResult]]:
        """Find who made a step fail; a failed step has changed nothing, so the rest can repeat."""
        results = []
        for single in step.singles():
            try:
                results.append((single, await compute(single)))
            except DeviceDeadError:
                raise
            except Exception as exc:
                for culprit in single.streams:
                    log.error("a stream fails by itself", extra={"stream": culprit, **fault(exc)})
                    if (stream := self._streams.get(culprit)) is not None:
                        stream.fail(EngineError())
                        stream.close()
        return [(done, result) for done, result in results if done.streams]

    def _deliver(self, step: Step, result: StepResult) -> None:
        for judged, probabilities in zip(step.judge, result.probabilities, strict=True):
            if (stream := self._streams.get(judged.stream)) is not None:
                stream.accept_probabilities(probabilities)
                self._changed(stream)
        for work, heard in zip(step.chunks, result.heard, strict=True):
            if (stream := self._streams.get(work.stream)) is not None:  # else: closed meanwhile
                stream.accept_chunk(work, heard)
                self._changed(stream)

    # Inside -------------------------------------------------------------------------------------

    def _changed(self, stream: Stream) -> None:
        if stream.id in self._streams:
            offer = Offer(
                stream.judge_due, stream.chunk_due, stream.live, stream.awaited, stream.finishing
            )
            self._scheduler.offer(stream.id, offer, asyncio.get_running_loop().time())
            if offer.judge and (self._judge_at is None or offer.ending):
                self._judge_woken.set()
            if offer.chunk:
                self._chunks_woken.set()

    def _forget(self, stream: Stream) -> None:
        if self._streams.pop(stream.id, None) is not None:
            self._scheduler.forget(stream.id)
            if stream.id in self._opened:  # the device never heard of it
                self._opened.remove(stream.id)
            else:
                self._closed.add(stream.id)

    def _fail_all(self, error: AsrError) -> None:
        for stream in list(self._streams.values()):
            stream.fail(error)
            stream.close()

    @property
    def _preview_interval(self) -> Samples:
        return from_ms(self._options.preview_interval_ms)


async def _sleep_until(time: float | None, woken: asyncio.Event) -> None:
    """Sleep until then or until there is more to do."""
    # Not `wait_for`: until Python 3.12 it may swallow a cancellation.
    woken.clear()
    alarm = None if time is None else asyncio.get_running_loop().call_at(time, woken.set)
    try:
        await woken.wait()
    finally:
        if alarm is not None:
            alarm.cancel()


def _trouble(error: Exception) -> str:
    return str(error) if isinstance(error, LoadError) else "the log says more"
