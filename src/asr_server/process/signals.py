"""SIGTERM and SIGINT: first the running tasks end, then whoever had the signal before gets it.

uvicorn closes every WebSocket as soon as it is told to stop, and tells its application too late.
So the application takes the signals first, however it was started, and hands them on when it is
done.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if hasattr(signal, "SIGBREAK"):  # Ctrl+Break on Windows
    SIGNALS.append(signal.SIGBREAK)

SAME_S = 1.0
"""Signals so soon after the first mean the same: supervisors tell a parent and its children."""


class GracefulShutdown:
    """Holds the first signal back until `drain` returns; a second one ends the process at once."""

    def __init__(self, drain: Callable[[], Awaitable[None]]) -> None:
        self._drain = drain
        self._before: dict[int, Any] = {}
        self._loop: asyncio.AbstractEventLoop
        self._first_at: float | None = None
        self._draining: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Take the signals over, on the event loop; elsewhere than in the main thread, nothing."""
        if threading.current_thread() is threading.main_thread():
            self._loop = asyncio.get_running_loop()
            self._before = {number: signal.signal(number, self._arrive) for number in SIGNALS}

    def end(self) -> None:
        """Give them back, unless somebody else has them now."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._arrive:
                signal.signal(number, handler)
        self._before = {}

    def _arrive(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_at is None:
            self._first_at = now
            self._loop.call_soon_threadsafe(self._start, number)
        elif now - self._first_at > SAME_S:
            os._exit(128 + number)  # a thread that hangs would keep any other way from ending

    def _start(self, number: int) -> None:
        self._draining = asyncio.create_task(self._hand_on(number), name="drain")

    async def _hand_on(self, number: int) -> None:
        try:
            await self._drain()
        finally:
            self.end()
            signal.raise_signal(number)


@contextmanager
def swallowed() -> Iterator[None]:
    """Let what uvicorn raises again once it has shut down be the end of nothing."""
    before = {number: signal.signal(number, _swallow) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _swallow(number: int, frame: FrameType | None) -> None:
    pass
