"""The thread that owns the model: the only place where a backend's `step` is called."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from asr_server.asr.types import Backend, Step, StepResult

T = TypeVar("T")


class DeviceDeadError(Exception):
    """The thread is gone or hangs; only a new one with a new backend helps."""


class Device:
    """One backend on one thread, replaceable as a whole.

    A Python thread cannot be killed, so a step that hangs is left behind with its thread and its
    memory: better than every stream hanging with it.
    """

    def __init__(self, load: Callable[[], Backend], step_timeout_s: float) -> None:
        self._load = load
        self._step_timeout_s = step_timeout_s
        self._thread: ThreadPoolExecutor | None = None
        self.backend: Backend | None = None
        """The model, once loaded and warm."""

    async def start(self) -> None:
        """Load and warm up the backend on a new thread; raises what loading raises."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        backend = await self._call(self._load)
        await self._call(backend.warm_up)
        self.backend = backend

    async def step(self, step: Step) -> StepResult:
        """Compute one step; raises what the backend raises, or `DeviceDeadError`."""
        backend = self.backend
        assert backend is not None
        try:
            return await asyncio.wait_for(
                self._call(lambda: backend.step(step)), self._step_timeout_s
            )
        except asyncio.TimeoutError as exc:
            raise DeviceDeadError(f"a step took more than {self._step_timeout_s:g} s") from exc

    def abandon(self) -> None:
        """Give up the thread, whatever it does."""
        self.backend = None
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None

    async def stop(self) -> None:
        """Let the running step end, then let go of the backend and the thread."""
        thread, self._thread, self.backend = self._thread, None, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.shutdown)

    async def _call(self, function: Callable[[], T]) -> T:
        assert self._thread is not None
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, _contain(function))
        except RuntimeError as exc:
            if "cannot schedule new futures" in str(exc):
                raise DeviceDeadError("the thread is gone") from exc
            raise


def _contain(function: Callable[[], T]) -> Callable[[], T]:
    """Turn what would end the whole process into the end of the device."""

    def contained() -> T:
        try:
            return function()
        except Exception:
            raise
        except BaseException as exc:
            raise DeviceDeadError(f"the thread ended with {type(exc).__name__}") from exc

    return contained
