"""Adapt uvicorn where its defaults harm clients or ASGI offers no way.

Server pings disconnect official SDK clients that pause their audio, and break the C++ one; uvicorn
sends them every 20 s unless its command line turns them off. Compression lets 6.9 MB become 6.6 GB.
API keys in query strings appear in the access log. All is corrected here, from inside the
application, so that a plain `uvicorn main:app` is as safe as `asr-server serve`.
"""

import contextlib
import logging
import socket
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_server.settings import Settings
from asr_server.websocket.browsers import is_loopback
from asr_server.websocket.sockets import Sockets
from asr_server.websocket.uvicorn_protocols import ParseQueue, WebSocketProtocol, http_protocol

log = logging.getLogger(__name__)

NO_TLS = "uvicorn's own command speaks TLS only with its --ssl-certfile and --ssl-keyfile"
OPEN = "no API key is configured: every client that reaches %s may use the server; see ASR_API_KEYS"

PROTOCOL = "asr_server.protocol"
"""Key of uvicorn's object in the scope, set by what stands between uvicorn and the application."""

MAX_ACCEPTS = 512
"""Connections that wait to be accepted, and attempts of asyncio per turn of the event loop, even
those without a descriptor."""

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 60, 10, 6


class UvicornCompat:
    """Outermost layer of the application: limits, keepalive, no keys in logs, `abort`.

    It also keeps uvicorn from logging the cause of a failed startup twice, and from logging every
    refused handshake as an error.
    """

    def __init__(self, app: ASGIApp, settings: Settings, max_sockets: int) -> None:
        self._app = app
        self._settings = settings
        self._sockets = Sockets(settings, max_sockets)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Prepare a connection and pass it on."""
        caller: Any = scope.get(PROTOCOL) or getattr(send, "__self__", None)  # uvicorn's object
        if scope["type"] == "lifespan":
            self.configure(getattr(caller, "config", None))
            async with self._sockets.watched():
                await self._app(scope, receive, _without_startup_error(send))
            return
        if scope["type"] == "websocket":
            transport = getattr(caller, "transport", None)
            if transport is not None:
                _enable_keepalive(transport.get_extra_info("socket"))
            state = scope.setdefault("state", {})
            state["abort"] = getattr(transport, "abort", _no_transport)
            state["budget"] = getattr(caller, "budget", None)
        if scope.get("query_string"):
            _hide_key(scope)
        await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            _mark_refusal_as_complete(caller)

    def configure(self, uvicorn: Any) -> None:
        """Change uvicorn's configuration, which it reads anew for every connection."""
        if uvicorn is None:
            log.warning("not called by uvicorn: clients may send any number of messages")
            return
        at_socket = uvicorn.uds or uvicorn.fd is not None
        if not (self._settings.keyed or at_socket or is_loopback(uvicorn.host)):
            log.warning(OPEN, uvicorn.host)
        if self._settings.tls and not uvicorn.is_ssl:
            log.warning(NO_TLS)
        uvicorn.backlog = min(uvicorn.backlog, MAX_ACCEPTS)
        uvicorn.ws_max_size = self._settings.max_message_bytes
        uvicorn.ws_ping_interval = None  # DashScope's SDK cannot answer while it has no audio
        uvicorn.ws_per_message_deflate = False  # PCM does not compress
        uvicorn.ws_protocol_class = partial(
            WebSocketProtocol, self._settings, self._sockets, ParseQueue()
        )
        http = http_protocol(uvicorn.http_protocol_class)
        if http is not uvicorn.http_protocol_class:
            uvicorn.http_protocol_class = partial(http, self._sockets)


def abort(scope: Scope) -> None:
    """Abort the connection of a scope; unsent frames are dropped."""
    scope["state"]["abort"]()


def query_key(scope: Scope) -> str | None:
    """Return the `api_key` that was in the query string."""
    key: str | None = scope["state"].get("api_key")
    return key


def _mark_refusal_as_complete(protocol: Any) -> None:
    """Keep uvicorn from logging a handshake that was answered with an HTTP status as an error.

    Otherwise clients without a key could fill the log.
    """
    if getattr(protocol, "initial_response", None) is not None:
        protocol.handshake_complete = True


def _without_startup_error(send: Send) -> Send:
    async def forward(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            message = {**message, "message": ""}
        await send(message)

    return forward


def _hide_key(scope: Scope) -> None:
    """Move `api_key` out of the query string, which uvicorn logs."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    keys = [value for name, value in query if name == "api_key"]
    if keys:
        scope.setdefault("state", {})["api_key"] = keys[0]
        rest = [(name, value) for name, value in query if name != "api_key"]
        scope["query_string"] = urlencode(rest).encode("ascii")


def _enable_keepalive(connection: Any) -> None:
    """Let the kernel detect peers that disappear without closing."""
    if connection is None:
        return
    with contextlib.suppress(OSError):  # a Unix socket has no TCP
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ):
            if hasattr(socket, name):  # macOS lacks some
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _no_transport() -> None:
    """Do nothing: the server exposes no transport."""
