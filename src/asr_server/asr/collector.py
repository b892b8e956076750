"""One stream's events on their way to its reader."""

import asyncio
from collections import deque

from asr_server.errors import AsrError
from asr_server.recognition import Hypothesis, RecognitionEvent


class Collector:
    """A mailbox whose writer never waits and whose size a slow reader cannot grow without bound.

    An unread interim is replaced by any newer hypothesis of its sentence; finals are never lost,
    and there is at most one for every sentence spoken.
    """

    def __init__(self) -> None:
        self._events: deque[RecognitionEvent] = deque()
        self._error: AsrError | None = None
        self._arrived = asyncio.Event()

    def put(self, event: RecognitionEvent) -> None:
        """Add an event."""
        newest = self._events[-1] if self._events else None
        if isinstance(newest, Hypothesis) and not newest.final:
            self._events.pop()  # an interim is only worth the newest state of its sentence
        self._events.append(event)
        self._arrived.set()

    def fail(self, error: AsrError) -> None:
        """End the stream: the reader gets what is already here, then the error."""
        self._error = self._error or error
        self._arrived.set()

    async def get(self) -> RecognitionEvent:
        """Wait for the next event; raises the error the stream failed with."""
        while not self._events:
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()
