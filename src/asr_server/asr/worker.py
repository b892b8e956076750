"""The threads that own the model: the only place where a backend's `step` is called."""

import asyncio
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from asr_server.asr.types import Backend, Step, StepResult

T = TypeVar("T")

SWITCH_INTERVAL_S = 0.0005
"""How long the interpreter lets a thread go on while another waits for its turn. Threads that
compute call thousands of small operators a step; with Python's 5 ms the event loop waits too long
between two of them: at 24 streams of the production model 95 % of chunks took 750 ms instead of
580 (docs/adr/0009-lanes.md)."""

LOAD_TIMEOUT_S = 600.0
"""A load that takes longer hangs, as it does on a broken device."""

_ACCELERATOR = re.compile(
    r"CUDA (error|driver|unknown error)|CUDA GPUs|with CUDA|NVIDIA driver|"
    r"CUBLAS_STATUS|CUDNN_STATUS|cudaGetDeviceCount|HIP error"
)
"""How PyTorch names a GPU at fault, in `torch.AcceleratorError` or, before 2.8, `RuntimeError`."""

_MEMORY = re.compile(r"out of memory|ALLOC_FAILED")


class DeviceDeadError(RuntimeError):
    """A thread is gone or hangs; only new ones with a new backend help."""


def accelerator_fails(error: BaseException) -> bool:
    """Whether the GPU is missing or broken, as opposed to full; most such errors stay for good."""
    said = str(error)
    return bool(_ACCELERATOR.search(said)) and not _MEMORY.search(said)


class Device:
    """One backend on threads of its own, replaceable as a whole: one for each of its lanes, where
    chunks are computed, and one that judges.

    A Python thread cannot be killed, so a step that hangs is left behind with its thread and its
    memory: better than every stream hanging with it.
    """

    def __init__(self, load: Callable[[], Backend], step_timeout_s: float) -> None:
        self._load = load
        self._step_timeout_s = step_timeout_s
        self._lanes: list[_Thread] = []
        self._resting: list[_Thread] = []
        """Lanes that compute nothing now."""
        self._judge: _Thread | None = None
        self.backend: Backend | None = None
        """The model, once loaded and warm."""

    async def start(self) -> None:
        """Load the backend on a new thread; raises what loading raises, or `TimeoutError`."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._lanes = [_Thread()]
        loading = _on(self._lanes[0], self._load)
        self.backend = await asyncio.wait_for(loading, LOAD_TIMEOUT_S)
        self._lanes += [_Thread() for _ in range(self.backend.lanes - 1)]
        self._resting = list(self._lanes)
        self._judge = _Thread()

    @property
    def lanes(self) -> int:
        """How many steps with chunks may run at once."""
        return len(self._lanes)

    @property
    def free_lanes(self) -> int:
        """How many more of them could begin now."""
        return len(self._resting)

    async def judge(self, step: Step) -> StepResult:
        """Compute a step without chunks, one at a time; raises as `hear` does."""
        assert self._judge is not None
        return await self._step(self._judge, step)

    async def hear(self, step: Step) -> StepResult:
        """Compute a step on a free lane; raises what the backend raises, or `DeviceDeadError`."""
        lane = self._resting.pop()
        try:
            return await self._step(lane, step)
        finally:
            self._resting.append(lane)

    async def _step(self, thread: "_Thread", step: Step) -> StepResult:
        backend = self.backend
        assert backend is not None
        computing = _on(thread, lambda: backend.step(step))
        # Not `wait_for`: until Python 3.12 it may swallow a cancellation.
        await asyncio.wait({computing}, timeout=self._step_timeout_s)
        if not computing.done():
            raise DeviceDeadError(f"a step took more than {self._step_timeout_s:g} s")
        try:
            return computing.result()
        except DeviceDeadError:
            raise
        except Exception as exc:
            if accelerator_fails(exc):  # the next step would fail, too
                raise DeviceDeadError(str(exc).splitlines()[0]) from exc
            raise

    def abandon(self) -> None:
        """Give up the threads, whatever they do."""
        self.backend = None
        for thread in self._forget():
            thread.end()

    async def stop(self) -> None:
        """Let running steps end, unless they hang, then let go of the backend and the threads."""
        self.backend = None
        threads = self._forget()
        ending = [_on(thread, _nothing) for thread in threads]
        if ending:
            await asyncio.wait(ending, timeout=self._step_timeout_s)
        for thread in threads:
            thread.end()

    def _forget(self) -> "list[_Thread]":
        threads = [*self._lanes, *([self._judge] if self._judge else [])]
        self._lanes, self._resting, self._judge = [], [], None
        return threads


class _Thread:
    """Calls functions one after another; a process can end although one of them hangs."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="device", daemon=True).start()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Have a function called; what would end the whole process only ends the device."""
        future: Future[T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as exc:
                future.set_exception(exc)
            except BaseException as exc:
                dead = DeviceDeadError(f"the thread ended with {type(exc).__name__}")
                dead.__cause__ = exc
                future.set_exception(dead)

        self._calls.put(call)
        return future

    def end(self) -> None:
        """Let the thread end after what it was told to call."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # and with it the model, once nobody else needs it


def _on(thread: _Thread, function: Callable[[], T]) -> "asyncio.Future[T]":
    future = asyncio.wrap_future(thread.call(function))
    future.add_done_callback(_seen)
    return future


def _seen(future: "asyncio.Future[Any]") -> None:
    """Whoever waited for it may be gone; an error is none of asyncio's business then."""
    if not future.cancelled():
        future.exception()


def _nothing() -> Any:
    """The last call."""
