"""Serve the WebSocket routes: accept or refuse connections, count them and drain them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.websockets import WebSocket

from asr_server.access import Access, Caller, Grant
from asr_server.errors import AsrError, ServiceUnavailable, ShuttingDown
from asr_server.protocol.commands import RunTask
from asr_server.settings import Settings
from asr_server.websocket.connection import Connection
from asr_server.websocket.door import Door, inference_door
from asr_server.websocket.limits import client_address, error_response
from asr_server.websocket.realtime import (
    OPENAI_PATH,
    QWEN_PATH,
    SUBPROTOCOL,
    realtime_door,
    subprotocol_key,
)
from asr_server.websocket.server_context import ServerContext
from asr_server.websocket.upload import Upload
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
        self._open: set[Connection | Upload] = set()
        self._all_closed = asyncio.Event()
        self.draining = False
        """Whether new connections and tasks are refused."""
        server.metrics.open_connections.set_function(lambda: len(self._open))
        self.router = APIRouter()
        for path in (PATH, QWEN_PATH, OPENAI_PATH):
            connect = self.infer if path == PATH else self.converse
            self.router.add_api_websocket_route(path, connect)
            self.router.add_api_websocket_route(path + "/", connect)

    async def infer(self, websocket: WebSocket) -> None:
        """Serve a client of DashScope's `run-task` protocol."""
        await self._connect(websocket, inference_door)

    async def converse(self, websocket: WebSocket) -> None:
        """Serve a Realtime client."""
        await self._connect(websocket, partial(realtime_door, scope=websocket.scope))

    async def _connect(self, websocket: WebSocket, door: Callable[[Settings, float], Door]) -> None:
        """Serve a client, or refuse it with an HTTP status before the upgrade."""
        try:
            grant = self._authorize(websocket)
        except AsrError as error:
            self._server.metrics.errors.labels(error.code).inc()
            log.debug("handshake refused", extra={"error": error.code})
            path = websocket.scope["path"]
            await websocket.send_denial_response(error_response(error, path))
            return
        caller = grant.caller
        confirm = partial(self._access.confirm, grant)
        connection = Connection(websocket, caller, self._server, confirm, door)
        self._open.add(connection)
        log.debug("connection open", extra={"caller": caller, "connections": len(self._open)})
        try:
            offered = websocket.scope.get("subprotocols", ())
            await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await connection.run()
        finally:
            self._leave(connection)
            log.debug("connection closed", extra={"caller": caller, "connections": len(self._open)})

    async def recognise(self, request: Request, caller: Caller, command: RunTask) -> Upload:
        """Open a task for an uploaded recording. Raises AsrError."""
        self._check_room()
        upload = Upload(self._server, caller, client_address(request.scope))
        self._open.add(upload)
        upload.closed = partial(self._leave, upload)
        try:
            await upload.open(command)
        except BaseException:
            self._leave(upload)
            raise
        return upload

    def _leave(self, member: Connection | Upload) -> None:
        self._open.discard(member)
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
        scope = websocket.scope
        grant = self._access.check(key, query_key(scope) or subprotocol_key(scope))
        self._check_room()
        return grant

    def _check_room(self) -> None:
        if self.draining:
            raise ShuttingDown
        if len(self._open) >= self._settings.max_connections:
            raise ServiceUnavailable
        if self._settings.refuse_when_full and not self._server.engine.admits():
            raise ServiceUnavailable
