"""Run steps of one kind in a loop: take a batch, compute it, deliver its results."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from asr_server.asr.batching import Batch
from asr_server.asr.types import OutOfMemoryError
from asr_server.asr.worker import DeviceDeadError
from asr_server.observability.logs import fault

log = logging.getLogger(__name__)

Work = TypeVar("Work")
Result = TypeVar("Result")

MAX_FAILED_STEPS = 3
"""Steps in a row without any result, after which a probe decides whether the device is ill."""


class Stage(Generic[Work, Result]):
    """Connect a queue, a device and the streams; the engine has one for VAD and one for decoding.

    `take` returns the next batch, `works` cuts its streams' work, `compute` runs it on a worker,
    `deliver` gets one result or exception per stream. `due_at` says when `take` is worth calling
    again. `probe` is work that a sound device computes. `out_of_memory` gets the size of a batch
    that did not fit.
    """

    def __init__(
        self,
        take: Callable[[float], Batch],
        works: Callable[[Batch], list[Work]],
        compute: Callable[[Sequence[Work]], Awaitable[Sequence[Result]]],
        deliver: Callable[[Batch, list[Work], list[Result | Exception], float], None],
        due_at: Callable[[], float | None],
        probe: Work,
        out_of_memory: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._take = take
        self._works = works
        self._compute = compute
        self._deliver = deliver
        self._due_at = due_at
        self._out_of_memory = out_of_memory
        self._probe = probe
        self._wakeup = asyncio.Event()
        self.sleeps_until: float | None = None
        """When the loop takes a batch without being woken; None if it waits for work."""

    async def run(self) -> None:
        """Take, compute and deliver until the device dies; several workers may run this at once.

        Raises `DeviceDeadError`.
        """
        clock = asyncio.get_running_loop().time
        failed = 0
        while True:
            began = clock()
            batch = self._take(began)
            if not batch:
                await self._sleep()
                continue
            works = self._works(batch)
            results = await self._compute_or_split(batch, works)
            self._deliver(batch, works, results, began)
            failed = failed + 1 if all(isinstance(r, Exception) for r in results) else 0
            if failed >= MAX_FAILED_STEPS:
                await self._check_device()
                failed = 0

    def wake(self) -> None:
        """Have the loop call `take` now."""
        self._wakeup.set()

    async def _sleep(self) -> None:
        # Not `wait_for`: until Python 3.12 it may swallow a cancellation.
        self._wakeup.clear()
        self.sleeps_until = due = self._due_at()
        loop = asyncio.get_running_loop()
        alarm = None if due is None else loop.call_at(due, self._wakeup.set)
        try:
            await self._wakeup.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    async def _compute_or_split(self, batch: Batch, works: list[Work]) -> list[Result | Exception]:
        """Compute a batch; if that fails, compute its works one by one.

        A failed step has changed no state, so every work can be repeated.
        """
        try:
            return list(await self._compute(works))
        except DeviceDeadError:
            raise
        except OutOfMemoryError:
            self._out_of_memory(len(works))
        except Exception as exc:
            log.error("a step failed; its streams are computed one by one", extra=fault(exc))
        results: list[Result | Exception] = []
        for stream, work in zip(batch.streams, works, strict=True):
            try:
                results += await self._compute([work])
            except DeviceDeadError:
                raise
            except Exception as exc:
                log.error("a stream's step fails by itself", extra={"stream": stream, **fault(exc)})
                results.append(exc)
        return results

    async def _check_device(self) -> None:
        """Raise `DeviceDeadError` unless the device computes the probe."""
        try:
            await self._compute([self._probe])
        except DeviceDeadError:
            raise
        except Exception as exc:
            raise DeviceDeadError(f"{MAX_FAILED_STEPS} steps and a probe failed") from exc
