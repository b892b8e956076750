"""How often one address may ask: handshakes and HTTP requests alike."""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from asr_server.errors import Throttled
from asr_server.observability.metrics import Metrics
from asr_server.websocket.refusals import refusal

MOST_ADDRESSES = 10_000
"""Addresses remembered before those that have been quiet are forgotten."""


class Rate:
    """A bucket for each address: full at first, refilled steadily, one token a request."""

    def __init__(self, per_minute: int) -> None:
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def allows(self, address: str, now: float) -> bool:
        """Whether a request at `now`, in seconds, is within the limit; counts it if it is."""
        tokens, counted = self._buckets.get(address, (self._size, now))
        tokens = min(self._size, tokens + (now - counted) * self._per_second)
        if len(self._buckets) >= MOST_ADDRESSES:
            full = now - 60
            self._buckets = {a: b for a, b in self._buckets.items() if b[1] > full}
        self._buckets[address] = (max(tokens - 1, 0.0) if tokens >= 1 else tokens, now)
        return tokens >= 1


class RateLimit:
    """Middleware that answers 429 to who asks too often."""

    def __init__(
        self,
        app: ASGIApp,
        per_minute: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._rate = Rate(per_minute)
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] in ("http", "websocket"):
            address = scope["client"][0] if scope.get("client") else ""
            if not self._rate.allows(address, self._clock()):
                self._metrics.errors.labels(Throttled.code).inc()
                answer = refusal(Throttled())
                if scope["type"] == "http":
                    await answer(scope, receive, send)
                else:
                    await WebSocket(scope, receive, send).send_denial_response(answer)
                return
        await self._app(scope, receive, send)
