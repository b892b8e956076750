"""Handle SIGTERM and SIGINT: end the running tasks, then pass the signal to its former handler.

uvicorn closes every WebSocket as soon as it gets the signal, and calls its application too late.
So the application installs its handlers first, however it was started.
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

DUPLICATE_S = 1.0
"""Signals within this time count as one: supervisors signal a parent and its children."""


class GracefulShutdown:
    """Defer the first signal until `drain` returns; a second one ends the process at once."""

    def __init__(self, drain: Callable[[], Awaitable[None]]) -> None:
        self._drain = drain
        self._former: dict[int, Any] = {}
        self._loop: asyncio.AbstractEventLoop
        self._first_at: float | None = None
        self._draining: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Install the handlers, on the event loop; outside the main thread do nothing."""
        if threading.current_thread() is threading.main_thread():
            self._loop = asyncio.get_running_loop()
            self._former = {number: signal.signal(number, self._arrive) for number in SIGNALS}

    def end(self) -> None:
        """Restore the former handlers, unless other ones were installed since."""
        for number, handler in self._former.items():
            if signal.getsignal(number) == self._arrive:
                signal.signal(number, handler)
        self._former = {}

    def _arrive(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_at is None:
            self._first_at = now
            self._loop.call_soon_threadsafe(self._start, number)
        elif now - self._first_at > DUPLICATE_S:
            os._exit(128 + number)  # any other way to exit waits for threads, which may hang

    def _start(self, number: int) -> None:
        self._draining = asyncio.create_task(self._drain_then_raise(number), name="drain")

    async def _drain_then_raise(self, number: int) -> None:
        try:
            await self._drain()
        finally:
            self.end()
            signal.raise_signal(number)


@contextmanager
def ignored_signals() -> Iterator[None]:
    """Ignore the signal that uvicorn raises again once it has shut down."""
    before = {number: signal.signal(number, _ignore) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
