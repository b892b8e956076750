"""Serve `/api-ws/v1/inference`: accept or refuse connections, count them and drain them."""

import asyncio
import contextlib
import logging
from functools import partial

from fastapi import APIRouter
from starlette.websockets import WebSocket

from asr_server.access import Access, Grant
from asr_server.errors import AsrError, ServiceUnavailable, ShuttingDown
from asr_server.websocket.connection import Connection
from asr_server.websocket.limits import error_response
from asr_server.websocket.server_context import ServerContext
from asr_server.websocket.uvicorn_compat import query_key

log = logging.getLogger(__name__)

PATH = "/{prefix:path}api-ws/v1/inference"
"""Any prefix: the C++ SDK requires `dashscope` somewhere in its URL."""


class ConnectionManager:
    """Hold the WebSocket route and the open connections."""

    def __init__(self, access: Access, server: ServerContext) -> None:
        self._access = access
        self._server = server
        self._settings = server.settings
        self._open: set[Connection] = set()
        self._all_closed = asyncio.Event()
        self.draining = False
        """Whether new connections and tasks are refused."""
        server.metrics.open_connections.set_function(lambda: len(self._open))
        self.router = APIRouter()
        self.router.add_api_websocket_route(PATH, self.connect)
        self.router.add_api_websocket_route(PATH + "/", self.connect)

    async def connect(self, websocket: WebSocket) -> None:
        """Serve a client, or refuse it with an HTTP status before the upgrade."""
        try:
            grant = self._authorize(websocket)
        except AsrError as error:
            self._server.metrics.errors.labels(error.code).inc()
            log.debug("handshake refused", extra={"error": error.code})
            await websocket.send_denial_response(error_response(error))
            return
        caller = grant.caller
        confirm = partial(self._access.confirm, grant)
        connection = Connection(websocket, caller, self._server, confirm)
        self._open.add(connection)
        log.debug("connection open", extra={"caller": caller, "connections": len(self._open)})
        try:
            await websocket.accept()
            await connection.run()
        finally:
            self._open.remove(connection)
            log.debug("connection closed", extra={"caller": caller, "connections": len(self._open)})
            if not self._open:
                self._all_closed.set()

    async def drain(self) -> None:
        """Refuse new tasks, let open ones finish and return once every connection is closed.

        Tasks still open after the drain timeout fail, with an error that clients may retry.
        """
        self.draining = True
        engine = self._server.engine
        timeout_s = self._settings.drain_timeout_s
        log.info("draining", extra={"tasks": engine.open_streams, "timeout_s": timeout_s})
        for connection in self._open:
            connection.drain()
        if await self._closed_within(timeout_s):
            log.info("drained")
            return
        log.warning("drain timeout: open tasks fail", extra={"tasks": engine.open_streams})
        for connection in self._open:
            connection.fail_open_task()
        await self._closed_within(self._settings.close_timeout_s)

    async def _closed_within(self, seconds: float) -> bool:
        self._all_closed.clear()
        if self._open:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), seconds)
        return not self._open

    def _authorize(self, websocket: WebSocket) -> Grant:
        if self.draining:
            raise ShuttingDown
        key = websocket.headers.get("authorization")
        grant = self._access.check(key, query_key(websocket.scope))
        if len(self._open) >= self._settings.max_connections:
            raise ServiceUnavailable
        if self._settings.refuse_when_full and self._server.engine.full:
            raise ServiceUnavailable
        return grant
