"""Refuse what is over a limit: tasks of one caller at once, requests of one address a minute.

Guessing keys is slowed, per address as well. IPv6 gives every customer a /64 network, which counts
as one address.
"""

import asyncio
import ipaddress
import logging
import time
from collections import Counter, OrderedDict

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from asr_server.access import Caller
from asr_server.errors import AsrError, InvalidApiKey, Throttled
from asr_server.observability.metrics import Metrics
from asr_server.protocol import http, openai

log = logging.getLogger(__name__)

MAX_ADDRESSES = 10_000
"""Addresses in the table of a limit, about 2 MB."""

WRONG_KEYS_PER_MINUTE = 20
"""Refused keys of one address that are answered at once; each further one waits for its turn."""

LONGEST_DELAY_S = 3.0
"""Longest time that the answer to a wrong key is held back."""

SUMMARY_PERIOD_S = 60.0
REFUSALS = (401, 403, 429)
"""Statuses of refused requests and handshakes that the log sums up."""


def client_address(scope: Scope) -> str:
    """Return the address that limits count for a request: of IPv6 its /64 network."""
    host: str = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a Unix socket
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


async def refuse(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    """Answer a request or a handshake with a response."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


def error_response(error: AsrError, path: str) -> JSONResponse:
    """Return the HTTP response to a refused handshake or a failed request, as its path has it."""
    request_id = http.request_id()
    body = http.failure(error, request_id)
    if openai.serves(path):
        body = {"error": openai.error_body(error)}
    return JSONResponse(body, error.http_status, {"x-request-id": request_id})


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
        tokens = self._count(address, now)
        allowed = tokens >= 1
        self._store(address, tokens - allowed, now)
        return allowed

    def owe(self, address: str, now: float, longest_s: float) -> float:
        """Take a token even if there is none; return after how many seconds it is refilled."""
        tokens = max(self._count(address, now) - 1, -longest_s * self._per_second)
        self._store(address, tokens, now)
        return max(0.0, -tokens / self._per_second)

    def _count(self, address: str, now: float) -> float:
        tokens, counted_at = self._buckets.pop(address, (self._size, now))
        return min(self._size, tokens + (now - counted_at) * self._per_second)

    def _store(self, address: str, tokens: float, now: float) -> None:
        self._buckets[address] = (tokens, now)
        if len(self._buckets) > self._max_addresses:
            self._buckets.popitem(last=False)


class RateLimit:
    """Answer 429 to an address over its limit; handshakes and HTTP requests count alike."""

    def __init__(self, app: ASGIApp, per_minute: int, metrics: Metrics) -> None:
        self._app = app
        self._buckets = TokenBuckets(per_minute)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        if scope["type"] in ("http", "websocket"):
            if not self._buckets.take(client_address(scope), time.monotonic()):
                self._metrics.errors.labels(Throttled.code).inc()
                await refuse(scope, receive, send, error_response(Throttled(), scope["path"]))
                return
        await self._app(scope, receive, send)


class RefusalLog:
    """Log refused requests: the first one at once, further ones summed up once a minute."""

    def __init__(self) -> None:
        self._refused: Counter[int] = Counter()
        self._addresses: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, status: int, address: str) -> None:
        """Count a refused request."""
        self._refused[status] += 1
        if address in self._addresses or len(self._addresses) < MAX_ADDRESSES:
            self._addresses[address] += 1
        if self._timer is None:
            self._write()

    def _write(self) -> None:
        self._timer = None
        if not self._refused:
            return
        [(address, _)] = self._addresses.most_common(1)
        figures = {f"http_{status}": count for status, count in sorted(self._refused.items())}
        figures |= {"addresses": len(self._addresses)}
        log.warning("requests refused", extra={**figures, "most_from": address})
        self._refused.clear()
        self._addresses.clear()
        self._timer = asyncio.get_running_loop().call_later(SUMMARY_PERIOD_S, self._write)


class Refusals:
    """Hold back the answers to an address whose keys are wrong, and log what is refused.

    Right keys are never delayed: the clients behind one proxy share an address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._wrong_keys = TokenBuckets(WRONG_KEYS_PER_MINUTE)
        self._log = RefusalLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""

        async def watch(message: Message) -> None:
            if message["type"].endswith("http.response.start"):
                await self._refused(message["status"], client_address(scope))
            await send(message)

        await self._app(scope, receive, send if scope["type"] == "lifespan" else watch)

    async def _refused(self, status: int, address: str) -> None:
        if status in REFUSALS:
            self._log.add(status, address)
        if status == InvalidApiKey.http_status:
            now = time.monotonic()
            delay_s = self._wrong_keys.owe(address, now, LONGEST_DELAY_S)
            if delay_s:
                await asyncio.sleep(delay_s)
