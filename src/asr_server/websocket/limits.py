"""Refuse what is over a limit: tasks of one caller at once, requests of one address a minute."""

import time
from collections import Counter, OrderedDict

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from asr_server.access import Caller
from asr_server.errors import AsrError, Throttled
from asr_server.observability.metrics import Metrics
from asr_server.protocol import http

MAX_ADDRESSES = 10_000
"""Addresses in the table of the rate limit, about 2 MB."""


def error_response(error: AsrError) -> JSONResponse:
    """Return the HTTP response to a refused handshake or a failed request."""
    request_id = http.request_id()
    return JSONResponse(
        http.failure(error, request_id), error.http_status, {"x-request-id": request_id}
    )


class ConcurrencyLimit:
    """Count the running tasks of each caller; a `limit` of 0 refuses none."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: Counter[Caller] = Counter()

    def acquire(self, caller: Caller) -> None:
        """Count a task that begins. Raises Throttled."""
        if self._limit and self._running[caller] >= self._limit:
            raise Throttled
        self._running[caller] += 1

    def release(self, caller: Caller) -> None:
        """Count a task that ended."""
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]


class TokenBuckets:
    """Keep a token bucket for each address: full at first, steadily refilled, one token a request.

    A request costs constant time. A full table evicts the address whose last request is oldest, so
    an attack from many addresses costs neither memory nor time.
    """

    def __init__(self, per_minute: int, max_addresses: int = MAX_ADDRESSES) -> None:
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._max_addresses = max_addresses
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens of each address and when they were counted, oldest request first."""

    def __len__(self) -> int:
        """Return the number of addresses in the table."""
        return len(self._buckets)

    def take(self, address: str, now: float) -> bool:
        """Take a token at `now`, in seconds; return False if there is none."""
        tokens, counted_at = self._buckets.pop(address, (self._size, now))
        tokens = min(self._size, tokens + (now - counted_at) * self._per_second)
        allowed = tokens >= 1
        self._buckets[address] = (tokens - allowed, now)
        if len(self._buckets) > self._max_addresses:
            self._buckets.popitem(last=False)
        return allowed


class RateLimit:
    """Answer 429 to an address over its limit; handshakes and HTTP requests count alike."""

    def __init__(self, app: ASGIApp, per_minute: int, metrics: Metrics) -> None:
        self._app = app
        self._buckets = TokenBuckets(per_minute)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        if scope["type"] in ("http", "websocket"):
            address = scope["client"][0] if scope.get("client") else ""
            if not self._buckets.take(address, time.monotonic()):
                self._metrics.errors.labels(Throttled.code).inc()
                response = error_response(Throttled())
                if scope["type"] == "http":
                    await response(scope, receive, send)
                else:
                    await WebSocket(scope, receive, send).send_denial_response(response)
                return
        await self._app(scope, receive, send)
