"""Call back at a deadline that moves often, and not before the client has been read."""

import asyncio
from collections.abc import Callable

STANDSTILL_S = 1.0
"""Seconds after which a timer that fires late means that the whole process stood still."""


class DeadlineTimer:
    """Call `expired` whenever the time that `deadline` returns has passed."""

    def __init__(self, deadline: Callable[[], float | None], expired: Callable[[], None]) -> None:
        self._deadline = deadline
        self._expired = expired
        self._not_before = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def update(self) -> None:
        """Move the timer to the deadline, if that is before the timer.

        A deadline moves with every audio frame, nearly always back; the timer then fires early
        and is scheduled anew, which costs less than a new timer for every frame.
        """
        deadline = self._deadline()
        if deadline is None:
            return
        deadline = max(deadline, self._not_before)
        if self._handle is not None:
            if self._handle.when() <= deadline:
                return
            self._handle.cancel()
        self._handle = asyncio.get_running_loop().call_at(deadline, self._fire)

    def cancel(self) -> None:
        """Call back no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        assert self._handle is not None
        if now - self._handle.when() > STANDSTILL_S:
            # The process was stopped. What the client sent meanwhile lies in the socket and has to
            # be read before the client counts as silent.
            self._not_before = now + STANDSTILL_S
        self._handle = None
        deadline = self._deadline()
        if deadline is not None and now >= max(deadline, self._not_before):
            self._expired()
        else:
            self.update()
