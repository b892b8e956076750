"""What uvicorn does for a connection and ASGI has no word for.

Server pings drop official SDK clients that pause their audio, and break the C++ one; uvicorn sends
them every 20 s unless told not to on its command line. Keys in query strings end up in its access
log. Both are put right here, so that a plain `uvicorn main:app` is safe too.
"""

import contextlib
import socket
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 60, 10, 6


class UvicornCompat:
    """Outermost middleware: no pings, TCP keepalive, no keys in logs, a way to cut a connection.

    It also keeps uvicorn from telling a second time why the application did not start, and from
    logging every refusal as an error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Prepare a connection and pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _brief(send))
            return
        if scope["type"] == "websocket":
            protocol: Any = getattr(send, "__self__", None)  # uvicorn's, if nothing is between
            if hasattr(protocol, "ping_interval"):
                protocol.ping_interval = None  # read when the handshake is accepted
            transport = getattr(protocol, "transport", None)
            if transport is not None:
                _keep_alive(transport.get_extra_info("socket"))
            scope.setdefault("state", {})["cut"] = getattr(transport, "abort", _nothing)
        if scope.get("query_string"):
            _hide_key(scope)
        await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            _count_refusal_as_answer(getattr(send, "__self__", None))


def _count_refusal_as_answer(protocol: Any) -> None:
    """uvicorn takes a handshake answered with an HTTP status for one not answered, as an error.

    Anybody without a key could fill the log.
    """
    if getattr(protocol, "initial_response", None) is not None:
        protocol.handshake_complete = True


def _brief(send: Send) -> Send:
    async def tell(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            message = {**message, "message": ""}
        await send(message)

    return tell


def cut(scope: Scope) -> None:
    """End the connection of a scope at once, whatever is unsent."""
    scope["state"]["cut"]()


def query_key(scope: Scope) -> str | None:
    """The `api_key` that was in the query string."""
    key: str | None = scope["state"].get("api_key")
    return key


def _hide_key(scope: Scope) -> None:
    """Move `api_key` out of the query string; uvicorn logs what is left of it."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    keys = [value for name, value in query if name == "api_key"]
    if keys:
        scope.setdefault("state", {})["api_key"] = keys[0]
        rest = [(name, value) for name, value in query if name != "api_key"]
        scope["query_string"] = urlencode(rest).encode("ascii")


def _keep_alive(connection: Any) -> None:
    """Let the kernel find peers that vanished without a word."""
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


def _nothing() -> None:
    """For servers that do not show their transport."""
