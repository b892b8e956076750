"""Bound the open sockets of the server, and close those that wait too long for their client.

Neither uvicorn nor ASGI counts sockets without a request: some thousand of them would use up the
file descriptors of the process, and nobody else could connect.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from enum import Enum
from typing import Protocol

from asr_server.errors import AsrError, ServiceUnavailable
from asr_server.observability.logs import OncePerMinute
from asr_server.protocol import http
from asr_server.settings import Settings

log = logging.getLogger(__name__)

MAX_SWEEP_S = 1.0
"""Seconds between two looks at all sockets; some thousand take a millisecond."""


class Waiting(Enum):
    """Name what a socket waits for its client to do."""

    HEAD = "send the head of a request"
    BODY = "send the body of a request"
    RESPONSE = "read a response"
    CLOSE = "read the last bytes"


class OpenSocket(Protocol):
    """What `Sockets` needs of uvicorn's protocol objects."""

    transport: asyncio.Transport

    def waits_for(self) -> tuple[Waiting, int] | None:
        """Return what the client has to do, and the number of its request."""

    def expire(self, waiting: Waiting, seconds: float) -> None:
        """Close the socket, whose client took longer than `seconds`."""


class Sockets:
    """Hold every open socket, with a request or without."""

    def __init__(self, settings: Settings, max_sockets: int) -> None:
        self._max_sockets = max_sockets
        self._seconds = {
            Waiting.HEAD: settings.request_head_timeout_s,
            Waiting.BODY: settings.request_body_timeout_s,
            Waiting.RESPONSE: settings.request_body_timeout_s,
            Waiting.CLOSE: settings.close_timeout_s,
        }
        self._open: dict[OpenSocket, tuple[tuple[Waiting, int] | None, float]] = {}
        """What each socket waits for, and since when."""
        self._unused: dict[OpenSocket, None] = {}
        """Sockets that had no request when last seen, oldest first."""
        self._log_full = OncePerMinute(log, logging.WARNING)

    def __len__(self) -> int:
        """Return the number of open sockets."""
        return len(self._open)

    def accept(self, socket: OpenSocket) -> None:
        """Add a new socket; at the limit, close the oldest that brought no request, or refuse."""
        full = len(self._open) >= self._max_sockets
        if full and not self._evict():
            self._log_full("%d sockets are open: new ones are refused", len(self._open))
            respond(socket.transport, ServiceUnavailable())
        self._unused[socket] = None
        self.add(socket)

    def add(self, socket: OpenSocket) -> None:
        """Add a socket, or what has taken over an open one."""
        self._open[socket] = (None, 0.0)

    def discard(self, socket: OpenSocket) -> None:
        """Remove a socket that is closed, or that something else takes over."""
        self._open.pop(socket, None)
        self._unused.pop(socket, None)

    def sweep(self, now: float) -> None:
        """Close the sockets whose clients are late."""
        for socket, (before, since) in list(self._open.items()):
            waiting = socket.waits_for()
            if waiting is None or waiting != before:
                self._open[socket] = (waiting, now)
            elif now - since >= (seconds := self._seconds[waiting[0]]):
                socket.expire(waiting[0], seconds)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Sweep again and again while the block runs."""
        task = asyncio.create_task(self._watch(), name="sockets")
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        period_s = min(MAX_SWEEP_S, min(self._seconds.values()) / 4)
        while True:
            await asyncio.sleep(period_s)
            self.sweep(asyncio.get_running_loop().time())

    def _evict(self) -> bool:
        """Close the oldest socket without a request; return False if there is none."""
        while self._unused:
            socket = next(iter(self._unused))
            del self._unused[socket]
            waiting = socket.waits_for()
            if waiting is not None and waiting[0] is Waiting.HEAD:
                self._log_full(
                    "%d sockets are open: those without a request are closed", len(self._open)
                )
                self.discard(socket)
                socket.transport.abort()
                return True
        return False


def respond(transport: asyncio.Transport, error: AsrError) -> None:
    """Write an HTTP response without the help of a protocol, and close the socket."""
    body = json.dumps(http.failure(error, http.request_id())).encode()
    head = (
        f"HTTP/1.1 {error.http_status} {error.code}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    transport.write(head.encode() + body)
    transport.close()
