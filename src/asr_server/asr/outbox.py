"""Hold the events of one stream until the connection takes them."""

import asyncio
from collections import deque

from asr_server.errors import AsrError
from asr_server.recognition import Hypothesis, RecognitionEvent


class Outbox:
    """Queue events: an unread interim is replaced by any newer event, finals are never lost."""

    def __init__(self) -> None:
        self._events: deque[RecognitionEvent] = deque()
        self._error: AsrError | None = None
        self._arrived = asyncio.Event()

    def put(self, event: RecognitionEvent) -> None:
        """Add an event."""
        newest = self._events[-1] if self._events else None
        if isinstance(newest, Hypothesis) and not newest.final:
            self._events.pop()
        self._events.append(event)
        self._arrived.set()

    def fail(self, error: AsrError) -> None:
        """Have `next` raise an error after the events that are unread; the first error counts."""
        self._error = self._error or error
        self._arrived.set()

    async def next(self) -> RecognitionEvent:
        """Return the next event; raises the error that ended the stream."""
        while not self._events:
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()
