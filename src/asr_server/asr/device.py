"""The thread that owns the model: the only place where a backend's `step` is called."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from asr_server.asr.types import Backend, Step, StepResult

T = TypeVar("T")

LOAD_TIMEOUT_S = 600.0
"""A load that takes longer hangs, as it does on a broken device."""

_ACCELERATOR = re.compile(
    r"CUDA (error|driver|unknown error)|CUDA GPUs|with CUDA|NVIDIA driver|"
    r"CUBLAS_STATUS|CUDNN_STATUS|cudaGetDeviceCount|HIP error"
)
"""How PyTorch names a GPU at fault, in `torch.AcceleratorError` or, before 2.8, `RuntimeError`."""

_MEMORY = re.compile(r"out of memory|ALLOC_FAILED")


class DeviceDeadError(RuntimeError):
    """The thread is gone or hangs; only a new one with a new backend helps."""


def accelerator_fails(error: BaseException) -> bool:
    """Whether the GPU is missing or broken, as opposed to full; most such errors stay for good."""
    said = str(error)
    return bool(_ACCELERATOR.search(said)) and not _MEMORY.search(said)


class Device:
    """One backend on one thread, replaceable as a whole.

    A Python thread cannot be killed, so a step that hangs is left behind with its thread and its
    memory: better than every stream hanging with it.
    """

    def __init__(self, load: Callable[[], Backend], step_timeout_s: float) -> None:
        self._load = load
        self._step_timeout_s = step_timeout_s
        self._thread: _Thread | None = None
        self.backend: Backend | None = None
        """The model, once loaded and warm."""

    async def start(self) -> None:
        """Load the backend on a new thread; raises what loading raises, or `TimeoutError`."""
        self._thread = thread = _Thread()
        self.backend = await asyncio.wait_for(_on(thread, self._load), LOAD_TIMEOUT_S)

    async def step(self, step: Step) -> StepResult:
        """Compute one step; raises what the backend raises, or `DeviceDeadError`."""
        backend, thread = self.backend, self._thread
        assert backend is not None
        assert thread is not None
        try:
            return await asyncio.wait_for(
                _on(thread, lambda: backend.step(step)), self._step_timeout_s
            )
        except asyncio.TimeoutError as exc:
            raise DeviceDeadError(f"a step took more than {self._step_timeout_s:g} s") from exc
        except Exception as exc:
            if accelerator_fails(exc):  # the next step would fail, too
                raise DeviceDeadError(str(exc).splitlines()[0]) from exc
            raise

    def abandon(self) -> None:
        """Give up the thread, whatever it does."""
        self.backend = None
        if self._thread is not None:
            self._thread.end()
            self._thread = None

    async def stop(self) -> None:
        """Let the running step end, unless it hangs, then let go of the backend and the thread."""
        thread, self._thread, self.backend = self._thread, None, None
        if thread is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_on(thread, _nothing), self._step_timeout_s)
            thread.end()


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
    return asyncio.wrap_future(thread.call(function))


def _nothing() -> Any:
    """The last call."""
