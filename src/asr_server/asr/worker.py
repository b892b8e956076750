"""Own the threads that run steps: the only place where a backend's methods are called."""

import asyncio
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.types import (
    Backend,
    DecodeResult,
    DecodeWork,
    SecondPassResult,
    SecondPassWork,
    VadWork,
)

T = TypeVar("T")

SWITCH_INTERVAL_S = 0.0005
"""How long the interpreter lets a thread go on while another waits for its turn. A step calls
thousands of small operators; with Python's 5 ms the event loop waits too long between two of them:
at 24 streams of the production model p95 was 750 ms instead of 580 (docs/adr/0009-step-threads.md).
"""

LOAD_TIMEOUT_S = 600.0
"""A load that takes longer hangs, as on a broken device."""

SECOND_PASS_NICENESS = 10
"""Niceness of the thread for second passes on Linux: beside two decode threads on two cores it gets
a tenth of one core. Higher values would let it hold the interpreter's lock without a core."""

_ACCELERATOR = re.compile(
    r"CUDA (error|driver|unknown error)|CUDA GPUs|with CUDA|NVIDIA driver|"
    r"CUBLAS_STATUS|CUDNN_STATUS|cudaGetDeviceCount|HIP error"
)
"""How PyTorch names a GPU at fault, in `torch.AcceleratorError` or, before 2.8, `RuntimeError`."""

_MEMORY = re.compile(r"out of memory|ALLOC_FAILED")


class DeviceDeadError(RuntimeError):
    """Report that a thread ended or hangs, or that the GPU is lost: only a new backend helps."""


def accelerator_fails(error: BaseException) -> bool:
    """Return whether the GPU is missing or broken, as opposed to out of memory."""
    message = str(error)
    return bool(_ACCELERATOR.search(message)) and not _MEMORY.search(message)


class Workers:
    """Run one backend on threads: one for VAD steps, as many for decode steps as it asks for, and
    one of low priority for second passes if it computes them.

    A Python thread cannot be killed, so a step that hangs is abandoned with its thread and memory.
    """

    def __init__(self, load: Callable[[], Backend], step_timeout_s: float) -> None:
        self._load = load
        self._step_timeout_s = step_timeout_s
        self._vad_thread: _Thread | None = None
        self._second_pass_thread: _Thread | None = None
        self._decode_threads: list[_Thread] = []
        self._free_threads: list[_Thread] = []
        """Decode threads without a step."""
        self.backend: Backend | None = None
        """The model, once loaded and warm."""

    async def start(self) -> Backend:
        """Load the backend on a new thread; raises what loading raises, or `TimeoutError`."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._decode_threads = [_Thread()]
        loading = _on(self._decode_threads[0], self._load)
        backend = self.backend = await asyncio.wait_for(loading, LOAD_TIMEOUT_S)
        self._decode_threads += [_Thread() for _ in range(backend.workers - 1)]
        self._free_threads = list(self._decode_threads)
        self._vad_thread = _Thread()
        if backend.second_pass:
            self._second_pass_thread = _Thread(SECOND_PASS_NICENESS)
        return backend

    @property
    def free(self) -> int:
        """Return how many decode steps could begin now."""
        return len(self._free_threads)

    async def detect(self, works: Sequence[VadWork]) -> Sequence[NDArray[np.float32]]:
        """Run a VAD step, one at a time; raises as `decode` does."""
        assert self._vad_thread is not None
        backend = self.backend
        assert backend is not None
        return await self._run(self._vad_thread, lambda: backend.detect(works))

    async def decode(self, works: Sequence[DecodeWork]) -> Sequence[DecodeResult]:
        """Run a decode step on a free thread.

        Raises what the backend raises, and `DeviceDeadError` if the step hangs or the GPU is lost.
        """
        backend = self.backend
        assert backend is not None
        thread = self._free_threads.pop()
        try:
            return await self._run(thread, lambda: backend.decode(works))
        finally:
            self._free_threads.append(thread)

    async def measure(self, function: Callable[[Backend], T]) -> T:
        """Call a function with the backend on a decode thread, before any step runs."""
        backend = self.backend
        assert backend is not None
        return await self._run(self._free_threads[0], lambda: function(backend))

    async def correct(self, works: Sequence[SecondPassWork]) -> Sequence[SecondPassResult]:
        """Run a second-pass step, one at a time; raises as `decode` does."""
        assert self._second_pass_thread is not None
        backend = self.backend
        assert backend is not None
        return await self._run(self._second_pass_thread, lambda: backend.correct(works))

    def abandon_second_pass(self) -> None:
        """Give up the thread of the second pass, whatever runs on it."""
        if self._second_pass_thread is not None:
            self._second_pass_thread.end()
            self._second_pass_thread = None

    def abandon(self) -> None:
        """Give up the threads, whatever runs on them."""
        self.backend = None
        for thread in self._release():
            thread.end()

    async def stop(self) -> None:
        """Let running steps end, unless they hang, then release the backend and the threads."""
        self.backend = None
        threads = self._release()
        ending = [_on(thread, lambda: None) for thread in threads]
        if ending:
            await asyncio.wait(ending, timeout=self._step_timeout_s)
        for thread in threads:
            thread.end()

    async def _run(self, thread: "_Thread", step: Callable[[], T]) -> T:
        computing = _on(thread, step)
        # Not `wait_for`: until Python 3.12 it may swallow a cancellation.
        await asyncio.wait({computing}, timeout=self._step_timeout_s)
        if not computing.done():
            raise DeviceDeadError(f"a step took more than {self._step_timeout_s:g} s")
        try:
            return computing.result()
        except DeviceDeadError:
            raise
        except Exception as exc:
            if accelerator_fails(exc):  # every further step would fail too
                raise DeviceDeadError(str(exc).splitlines()[0]) from exc
            raise

    def _release(self) -> "list[_Thread]":
        lone = (self._vad_thread, self._second_pass_thread)
        threads = [*self._decode_threads, *(thread for thread in lone if thread)]
        self._decode_threads, self._free_threads = [], []
        self._vad_thread = self._second_pass_thread = None
        return threads


class _Thread:
    """Call functions one after another; a process can end although one of them hangs."""

    def __init__(self, niceness: int = 0) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._niceness = niceness
        threading.Thread(target=self._run, name="worker", daemon=True).start()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Queue a call; `SystemExit` and the like end the device, not the process."""
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
        """End the thread after the calls queued so far."""
        self._calls.put(None)

    def _run(self) -> None:
        if self._niceness and sys.platform == "linux":  # elsewhere only a process has a niceness
            # Threads that PyTorch starts for this one inherit it; the kernel caps it at 19.
            niceness = os.getpriority(os.PRIO_PROCESS, 0) + self._niceness
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        while (call := self._calls.get()) is not None:
            call()
            del call  # releases the model once nothing else refers to it


def _on(thread: _Thread, function: Callable[[], T]) -> "asyncio.Future[T]":
    future = asyncio.wrap_future(thread.call(function))
    future.add_done_callback(_retrieve_exception)
    return future


def _retrieve_exception(future: "asyncio.Future[Any]") -> None:
    """Keep asyncio from logging an exception whose waiter is gone."""
    if not future.cancelled():
        future.exception()
