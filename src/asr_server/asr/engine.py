"""The loop: which streams are open, what rides each step, where the results go.

Everything here runs on the event loop except `Backend.step`, which one thread per device runs.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from asr_server.asr.scheduler import Batch, Policy, Scheduler
from asr_server.asr.stream import Stream
from asr_server.asr.types import Backend, Step, StepResult, StreamId, StreamOptions
from asr_server.audio.units import Samples, from_ms
from asr_server.errors import EngineError, Throttled

log = logging.getLogger(__name__)

LOAD_HALF_LIFE_STEPS = 8
"""Steps after which an old one counts half in the load."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs, whatever the model."""

    max_streams: int = 256
    """Tasks at once; one more is told to come again."""
    preview_interval_ms: int = 200
    """New audio worth another preview of an open sentence; 0 turns previews off."""
    policy: Policy = Policy()


class Engine:
    """Recognises all streams with one backend.

    `load` builds the backend; it runs on the device thread, at the start and again if the thread
    or the model died.
    """

    def __init__(self, load: Callable[[], Backend], options: EngineOptions | None = None) -> None:
        self._load = load
        self._options = options or EngineOptions()
        self._scheduler = Scheduler(self._options.policy)
        self._streams: dict[StreamId, Stream] = {}
        self._ids = itertools.count(1)
        self._opened: set[StreamId] = set()
        self._closed: set[StreamId] = set()
        self._woken = asyncio.Event()
        self._device: ThreadPoolExecutor | None = None
        self._backend: Backend | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self._load_average = 0.0
        self._last_step_ended = 0.0

    # The application's face ---------------------------------------------------------------------

    async def start(self) -> None:
        """Load the model, warm it up and begin to step; then the engine is `ready`."""
        await self._start_device()
        self._loop_task = asyncio.create_task(self._run(), name="engine")

    async def stop(self) -> None:
        """Stop stepping; open streams end with an error."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
            self._loop_task = None
        self._fail_all(EngineError("the server is stopping"))
        self._backend = None
        if self._device is not None:
            self._device.shutdown(wait=True)
            self._device = None

    @property
    def ready(self) -> bool:
        """Whether streams can be opened."""
        return self._backend is not None and self._loop_task is not None

    @property
    def model_name(self) -> str:
        """Name of the loaded model, or nothing before it is loaded."""
        return self._backend.name if self._backend else ""

    @property
    def device(self) -> str:
        """Where the model runs, or nothing before it is loaded."""
        return self._backend.device if self._backend else ""

    @property
    def open_streams(self) -> int:
        """Streams open now."""
        return len(self._streams)

    def open(self, options: StreamOptions) -> Stream:
        """A new stream; raises `Throttled` when all are taken and `EngineError` when not ready."""
        if self._backend is None:
            raise EngineError("the recogniser is not ready")
        if len(self._streams) >= self._options.max_streams:
            raise Throttled("all streams are in use")
        stream = Stream(
            next(self._ids),
            options,
            self._backend.geometry,
            self._preview_interval,
            on_change=self._changed,
            on_close=self._forget,
        )
        self._streams[stream.id] = stream
        self._opened.add(stream.id)
        return stream

    # The loop -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._scheduler.take(loop.time(), len(self._streams), self._load_average)
            if not batch:
                await self._sleep_until(self._scheduler.wake_at())
                continue
            step = self._cut(batch)
            began = loop.time()
            try:
                results = [(step, await self._on_device(step))]
            except Exception:
                log.exception("a step of %d chunks failed; retrying one by one", len(step.chunks))
                results = await self._one_by_one(step)
            self._measure(began, loop.time())
            for done, result in results:
                self._deliver(done, result)

    async def _sleep_until(self, time: float | None) -> None:
        timeout = None if time is None else time - asyncio.get_running_loop().time()
        self._woken.clear()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._woken.wait(), timeout)

    def _cut(self, batch: Batch) -> Step:
        opened, self._opened = tuple(self._opened), set()
        closed, self._closed = tuple(self._closed), set()
        return Step(
            opened,
            closed,
            tuple(self._streams[stream].cut_judge() for stream in batch.judge),
            tuple(self._streams[stream].cut_chunk() for stream in batch.chunks),
        )

    async def _on_device(self, step: Step) -> StepResult:
        assert self._device is not None
        assert self._backend is not None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._device, self._backend.step, step)

    async def _one_by_one(self, step: Step) -> list[tuple[Step, StepResult]]:
        """Find who made a step fail; a failed step has changed nothing, so the rest can repeat."""
        results = []
        for single in _singles(step):
            try:
                results.append((single, await self._on_device(single)))
            except Exception:
                for culprit in single.streams:
                    log.exception("stream %d fails by itself", culprit)
                    if (stream := self._streams.get(culprit)) is not None:
                        stream.fail(EngineError())
                        stream.close()
        return results

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

    async def _start_device(self) -> None:
        self._device = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        loop = asyncio.get_running_loop()
        backend = await loop.run_in_executor(self._device, self._load)
        await loop.run_in_executor(self._device, backend.warm_up)
        self._backend = backend

    def _changed(self, stream: Stream) -> None:
        if stream.id in self._streams:
            now = asyncio.get_running_loop().time()
            self._scheduler.offer(stream.id, stream.judge_due, stream.chunk_due, now)
            self._woken.set()

    def _forget(self, stream: Stream) -> None:
        if self._streams.pop(stream.id, None) is not None:
            self._scheduler.forget(stream.id)
            if stream.id in self._opened:  # the device never heard of it
                self._opened.remove(stream.id)
            else:
                self._closed.add(stream.id)

    def _fail_all(self, error: EngineError) -> None:
        for stream in list(self._streams.values()):
            stream.fail(error)
            stream.close()

    def _measure(self, began: float, ended: float) -> None:
        """Keep a decaying average of the share of time the device is busy."""
        period = max(ended - self._last_step_ended, 1e-6)
        busy = min(1.0, (ended - began) / period)
        weight = 1.0 / LOAD_HALF_LIFE_STEPS
        self._load_average += weight * (busy - self._load_average)
        self._last_step_ended = ended

    @property
    def _preview_interval(self) -> Samples:
        return from_ms(self._options.preview_interval_ms)


def _singles(step: Step) -> list[Step]:
    """The same work, one stream a step."""
    births = [Step(opened=step.opened, closed=step.closed)] if step.opened or step.closed else []
    judge = [Step(judge=(work,)) for work in step.judge]
    chunks = [Step(chunks=(work,)) for work in step.chunks]
    return [*births, *judge, *chunks]
