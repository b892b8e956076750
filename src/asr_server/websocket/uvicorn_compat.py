"""Adapt uvicorn where its defaults harm clients or ASGI offers no way.

Server pings disconnect official SDK clients that pause their audio, and break the C++ one; uvicorn
sends them every 20 s unless its command line turns them off. API keys in query strings appear in
its access log. Both are corrected here, so that a plain `uvicorn main:app` is safe too.
"""

import contextlib
import socket
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr_server.protocol.commands import NOT_UTF8

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 60, 10, 6


class UvicornCompat:
    """Outermost middleware: no pings, TCP keepalive, no keys in logs, connections can be aborted.

    It also keeps uvicorn from logging the cause of a failed startup twice, and from logging every
    refused handshake as an error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Prepare a connection and pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _without_startup_error(send))
            return
        if scope["type"] == "websocket":
            protocol: Any = getattr(send, "__self__", None)  # uvicorn's, if it is the direct caller
            if hasattr(protocol, "ping_interval"):
                protocol.ping_interval = None  # read when the handshake is accepted
            transport = getattr(protocol, "transport", None)
            if transport is not None:
                _enable_keepalive(transport.get_extra_info("socket"))
            scope.setdefault("state", {})["abort"] = getattr(transport, "abort", _no_transport)
            if hasattr(protocol, "send_receive_event_to_app"):
                _pass_on_invalid_text(protocol)
        if scope.get("query_string"):
            _hide_key(scope)
        await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            _mark_refusal_as_complete(getattr(send, "__self__", None))


def abort(scope: Scope) -> None:
    """Abort the connection of a scope; unsent frames are dropped."""
    scope["state"]["abort"]()


def bind_host(receive: Receive) -> str | None:
    """Return the host that uvicorn will listen on, given the `receive` of its lifespan."""
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if config is None or config.uds or config.fd is not None:
        return None
    host: str = config.host
    return host


def query_key(scope: Scope) -> str | None:
    """Return the `api_key` that was in the query string."""
    key: str | None = scope["state"].get("api_key")
    return key


def _pass_on_invalid_text(protocol: Any) -> None:
    """Let the application refuse a text frame that is not UTF-8, with a message and a reason.

    uvicorn closes the connection at once and logs an error with its stack.
    """
    forward = protocol.send_receive_event_to_app

    def send_receive_event_to_app() -> None:
        if protocol.curr_msg_data_type == "text":
            data = b"".join(protocol.frames)
            try:
                data.decode()
            except UnicodeDecodeError:
                data = NOT_UTF8.encode()
            protocol.frames = [data]
        forward()

    protocol.send_receive_event_to_app = send_receive_event_to_app


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
