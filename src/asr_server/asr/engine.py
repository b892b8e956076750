"""Recognise all streams with one backend: open streams, and restart a device that died.

Everything here runs on the event loop; steps run on the worker threads.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from asr_server.asr.capacity_estimate import estimate
from asr_server.asr.hotword_compiler import compile_hotwords
from asr_server.asr.hotwords import HotwordSet
from asr_server.asr.scheduler import Scheduler
from asr_server.asr.stream import Stream
from asr_server.asr.types import Backend, DeviceLostError, LoadError, StreamOptions
from asr_server.asr.worker import Workers
from asr_server.capacity import Capacity
from asr_server.errors import EngineDead, EngineError, Throttled
from asr_server.observability.logs import fault
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings
from asr_server.text.hotwords import Hotwords

log = logging.getLogger(__name__)

EngineState = Literal["loading", "ready", "restarting", "failed"]

RESTART_PAUSES_S = (0.0, 1.0, 5.0, 30.0)
"""Pauses before the first and further attempts to restart a dead device; the last repeats."""

MAX_LOST_STARTS = 4
"""Attempts that find no GPU, after which only a new process can find one."""


class Engine:
    """Recognise all streams with one backend.

    `load` builds the backend and warms it up; it runs on a worker thread, at the start and again
    if a thread or the device died.
    """

    def __init__(
        self,
        load: Callable[[], Backend],
        settings: Settings,
        metrics: Metrics | None = None,
        why_no_second_pass: Callable[[], str] = lambda: "",
    ) -> None:
        """`why_no_second_pass` returns why no offline model is loaded, if none is."""
        self._why_no_second_pass = why_no_second_pass
        self._settings = settings
        self._metrics = metrics or Metrics()
        self._workers = Workers(load, settings.step_timeout_s)
        self._scheduler: Scheduler | None = None
        """Of the loaded backend."""
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="hotwords")
        self._stream_ids = itertools.count(1)
        self._restarts = 0
        """Attempts to restart the device since it last decoded a chunk."""
        self._serving: asyncio.Task[None] | None = None
        self.state: EngineState = "loading"
        """`failed` is `restarting` after an attempt that did not succeed."""
        self.failure = ""
        """Why the state is `failed`, in a sentence for the operator."""
        self.capacity: Capacity | None = None
        """Live streams that the machine holds, if known; set by the application."""
        self.lost = asyncio.Event()
        """Set when only a new process can use the device again."""
        self._metrics.slots.set(settings.max_tasks)
        self._metrics.used_slots.set_function(lambda: self.used_slots)
        self._metrics.live_delay.set_function(
            lambda: self._scheduler.delay_s if self._scheduler else 0.0
        )
        self._metrics.capacity.set_function(lambda: self.max_streams)
        self._metrics.utilization.set_function(lambda: self.utilization)

    async def start(self) -> None:
        """Load the model, warm it up and begin to compute; then the engine is `ready`.

        Raises LoadError with what the operator can do, or whatever else loading raises.
        """
        scheduler = await self._load()
        self._serving = asyncio.create_task(self._serve(scheduler), name="engine")
        self.state = "ready"

    async def stop(self) -> None:
        """Stop computing; open streams end with an error."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait({self._serving})
            self._serving = None
        self.state = "loading"
        if self._scheduler is not None:
            self._scheduler.fail_all(EngineError())
        self._compiler.shutdown(wait=False, cancel_futures=True)
        await self._workers.stop()

    # Streams ------------------------------------------------------------------------------------

    async def prepare(self, hotwords: Hotwords, names: Hotwords = ()) -> HotwordSet | None:
        """Return the hotwords of a stream compiled off the event loop; `open` finds them compiled.

        2000 words take 0.1 s.
        """
        backend = self._workers.backend
        if backend is None or not (hotwords or names):
            return None
        loop = asyncio.get_running_loop()
        lists = (hotwords, backend.vocabulary, *([names] if names else []))
        return await loop.run_in_executor(self._compiler, compile_hotwords, *lists)

    def open(self, options: StreamOptions) -> Stream:
        """Open a stream.

        Raises `Throttled` when there is no slot or the delay is too long, `EngineError` when the
        engine is not ready, and `ValueError` with a sentence for the client for a bad hotword.
        """
        backend, scheduler = self._workers.backend, self._scheduler
        if backend is None or scheduler is None:
            raise EngineError
        if self._slots_taken or (slot := scheduler.allocate()) is None:
            raise Throttled
        hotwords = None
        if options.hotwords:
            hotwords = compile_hotwords(options.hotwords, backend.vocabulary)
        stage = scheduler.second_pass
        if not options.second_pass or (hotwords and not backend.second_pass_hotwords):
            stage = None  # text without the hotwords would replace text with them
        stream = Stream(
            next(self._stream_ids),
            slot,
            options,
            backend.geometry,
            previews=self._settings.previews and options.previews,
            on_change=scheduler.offer,
            on_close=scheduler.remove,
            clock=asyncio.get_running_loop().time,
            hotwords=hotwords,
            second_pass=stage.options if stage else None,
        )
        scheduler.add(stream)
        return stream

    def decoder_waited(self, waited_s: float) -> None:
        """Count how long a message of compressed live audio waited for a processor."""
        self._metrics.decoder_delay.observe(waited_s)
        if self._scheduler is not None:
            self._scheduler.decoder_waited(waited_s)

    def admits(self) -> bool:
        """Return whether `open` would succeed; if not, that counts as a refused stream."""
        scheduler = self._scheduler
        return scheduler is not None and not self._slots_taken and scheduler.allocate() is not None

    async def estimate_capacity(self) -> int:
        """Return about how many live streams the device holds; no stream may be open."""
        return await self._workers.measure(estimate)

    # What there is to know ----------------------------------------------------------------------

    @property
    def max_streams(self) -> int:
        """Return the live streams that the machine holds, at most the configured tasks."""
        most = self._settings.max_tasks
        return min(most, self.capacity.streams) if self.capacity else most

    @property
    def full(self) -> bool:
        """Return whether a stream opened now would be refused; asking changes nothing."""
        scheduler = self._scheduler
        return scheduler is None or self._slots_taken or scheduler.full

    @property
    def utilization(self) -> float:
        """Return the share of the capacity in use, 0 to 1."""
        return 1.0 if self.full else min(1.0, self.open_streams / self.max_streams)

    @property
    def _slots_taken(self) -> bool:
        """Return whether as many streams are open as may be."""
        enforced = self.capacity is not None and self.capacity.enforced
        return self.open_streams >= (self.max_streams if enforced else self._settings.max_tasks)

    @property
    def device(self) -> str:
        """Return where the model runs, or nothing before it is loaded."""
        return self._workers.backend.device if self._workers.backend else ""

    @property
    def dtype(self) -> str:
        """Return the precision of the weights, or nothing before they are loaded."""
        return self._workers.backend.dtype if self._workers.backend else ""

    @property
    def gpu(self) -> str | None:
        """Return the UUID of the GPU that computes, if one does."""
        return self._workers.backend.gpu if self._workers.backend else None

    @property
    def no_second_pass(self) -> str:
        """Return why no offline model corrects finals, or nothing if one does."""
        if self._scheduler is None or self._scheduler.second_pass is None:
            return self._why_no_second_pass() or "there is no offline model"
        return self._scheduler.second_pass.failure

    @property
    def open_streams(self) -> int:
        """Return the number of open streams."""
        return self._scheduler.open_streams if self._scheduler else 0

    @property
    def used_slots(self) -> int:
        """Return the number of slots of streams that are open or in flight."""
        return self._scheduler.used_slots if self._scheduler else 0

    # The device ---------------------------------------------------------------------------------

    async def _load(self) -> Scheduler:
        backend = await self._workers.start()
        self._scheduler = Scheduler(backend, self._workers, self._settings, self._metrics)
        return self._scheduler

    async def _serve(self, scheduler: Scheduler) -> None:
        """Run the stages; when the device dies, restart it and go on."""
        while True:
            try:
                await scheduler.run()
            except Exception as exc:  # the device is dead, or this is a bug
                about = {"tasks": scheduler.open_streams, **fault(exc)}
                log.critical("the recogniser failed; every task fails", extra=about)
            if scheduler.decoded:
                self._restarts = 0
            self.state = "restarting"
            self._workers.abandon()
            scheduler.fail_all(EngineDead())
            if (restarted := await self._restart()) is None:
                self.lost.set()
                return
            scheduler = restarted

    async def _restart(self) -> Scheduler | None:
        """Load the backend anew; return None if only a new process can use the device."""
        lost = 0
        while lost < MAX_LOST_STARTS:
            await asyncio.sleep(RESTART_PAUSES_S[min(self._restarts, len(RESTART_PAUSES_S) - 1)])
            self._restarts += 1
            try:
                scheduler = await self._load()
            except Exception as exc:
                self._workers.abandon()
                self.state = "failed"
                self.failure = str(exc) if isinstance(exc, LoadError) else "see the log"
                log.error("the recogniser does not start: %s", self.failure, extra=fault(exc))
                lost += isinstance(exc, (DeviceLostError, asyncio.TimeoutError))
            else:
                self.state, self.failure = "ready", ""
                self._metrics.device_restarts.inc()
                log.warning("the recogniser is back", extra={"device": self.device})
                return scheduler
        return None
