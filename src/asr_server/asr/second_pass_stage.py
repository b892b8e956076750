"""Run the second pass beside the streaming stages, which never wait for it.

It has a worker thread of low priority. It is dropped before anything else under load, takes no part
in admission, and a fault costs only itself: the streaming text is the final.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

import numpy as np

from asr_server.asr.batching import Batch, Load
from asr_server.asr.second_pass import SecondPassJob, SecondPassOptions
from asr_server.asr.second_pass_queue import SecondPassQueue, overloaded
from asr_server.asr.stage import Stage
from asr_server.asr.stream import Stream
from asr_server.asr.types import SecondPassResult, SecondPassWork, StreamId
from asr_server.asr.worker import DeviceDeadError, Workers
from asr_server.audio.units import SAMPLE_RATE, from_ms
from asr_server.observability.logs import fault
from asr_server.observability.metrics import Metrics
from asr_server.observability.metrics import SecondPassOutcome as Outcome
from asr_server.settings import Settings

log = logging.getLogger(__name__)


class SecondPassStage:
    """Compute the second passes of all streams; `live_load` is None while no stream is live."""

    def __init__(
        self,
        workers: Workers,
        settings: Settings,
        metrics: Metrics,
        streams: Mapping[StreamId, Stream],
        live_load: Callable[[], Load | None],
    ) -> None:
        self._workers = workers
        self._metrics = metrics
        self._streams = streams
        self._live_load = live_load
        loop = asyncio.get_running_loop()
        self._clock, self._call_at = loop.time, loop.call_at
        self._queue = SecondPassQueue()
        self._step: dict[SecondPassJob, float] = {}
        """The jobs of the running step, and since when they waited."""
        self._alarms: dict[StreamId, asyncio.TimerHandle] = {}
        """Deliver finals that wait no longer."""
        self._stage: Stage[SecondPassWork, SecondPassResult] = Stage(
            self._take,
            lambda batch: [self._streams[job.stream].second_pass.begin(job) for job in self._step],
            workers.correct,
            self._deliver,
            due_at=lambda: None,
            probe=SecondPassWork(np.zeros(SAMPLE_RATE, np.float32)),
            out_of_memory=self._queue.limit_batch,
        )
        self.options = SecondPassOptions(
            from_ms(settings.second_pass_pause_ms),
            settings.second_pass_deadline_ms / 1000,
            metrics.second_pass_ended,
        )
        self.failure = ""
        """Why it was switched off."""

    async def run(self) -> None:
        """Compute until cancelled, or until it fails repeatedly; raises nothing."""
        try:
            await self._stage.run()
        except Exception as exc:  # the other stages notice by themselves if the device is dead
            known = isinstance(exc, DeviceDeadError)
            self.failure = str(exc) if known else f"it failed ({type(exc).__name__})"
            log.error("the second pass is switched off: it fails", extra=fault(exc))
            self._workers.abandon_second_pass()
            for stream in list(self._streams.values()):
                self.offer(stream)

    def offer(self, stream: Stream) -> None:
        """Queue what a stream has for the offline model, and note until when its final waits."""
        jobs, until = stream.second_pass.due, stream.final_waits_until
        if (jobs or until is not None) and (obstacle := self._obstacle):
            stream.second_pass.give_up(obstacle, None if until is not None else jobs)
            stream.complete()
            jobs, until = {}, stream.final_waits_until
        self._queue.offer(stream.id, jobs, stream.live, self._clock())
        if jobs:
            self._stage.wake()
        alarm = self._alarms.get(stream.id)
        if alarm is not None and alarm.when() != until:
            self._alarms.pop(stream.id).cancel()
        if until is not None and stream.id not in self._alarms:
            self._alarms[stream.id] = self._call_at(until, self._expire, stream)

    def remove(self, stream: Stream) -> None:
        """Forget a closed stream."""
        self._queue.withdraw(stream.id)
        if (alarm := self._alarms.pop(stream.id, None)) is not None:
            alarm.cancel()

    @property
    def _obstacle(self) -> Outcome | None:
        """Return why no second pass may begin now, and no final waits for one, or None."""
        if self.failure:
            return "failed"
        load = self._live_load()
        return "dropped" if load is not None and overloaded(load) else None

    def _expire(self, stream: Stream) -> None:
        del self._alarms[stream.id]
        stream.complete()
        self.offer(stream)

    def _give_up(self, outcome: Outcome, job: SecondPassJob) -> None:
        stream = self._streams[job.stream]
        stream.second_pass.give_up(outcome, [job])
        stream.complete()
        self.offer(stream)

    def _take(self, now: float) -> Batch:
        if obstacle := self._obstacle:
            for job in self._queue.clear():
                self._give_up(obstacle, job)
        for job in self._queue.take_late(now):
            self._give_up("late", job)
        self._step = self._queue.take(now, any_live=self._live_load() is not None)
        return Batch(tuple(job.stream for job in self._step))

    def _deliver(
        self,
        batch: Batch,
        works: list[SecondPassWork],
        results: list[SecondPassResult | Exception],
        began: float,
    ) -> None:
        now = self._clock()
        self._metrics.second_pass_seconds.inc(now - began)
        if not any(isinstance(result, Exception) for result in results):
            self._queue.computed(self._step, now - began)
        for (job, since), result in zip(self._step.items(), results, strict=True):
            self._metrics.second_pass_latency.observe(now - since)
            if (stream := self._streams.get(job.stream)) is None:
                continue
            if isinstance(result, Exception):
                self._give_up("failed", job)
            else:
                stream.second_pass.accept(job, result)
                stream.complete()
                self.offer(stream)
