"""`/api-ws/v1/inference`: who may connect, how many, and how all of them are sent away."""

import asyncio
import contextlib
import logging

from fastapi import APIRouter
from starlette.websockets import WebSocket

from asr_server.access import Access, Caller
from asr_server.asr.engine import Engine
from asr_server.errors import AccessDenied, AsrError, ServiceUnavailable, ShuttingDown
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings
from asr_server.vocabularies import Vocabularies
from asr_server.websocket.connection import Connection, ServerContext
from asr_server.websocket.hotwords import Hotwords
from asr_server.websocket.limits import ConcurrencyLimit
from asr_server.websocket.refusals import refusal
from asr_server.websocket.uvicorn_compat import query_key

log = logging.getLogger(__name__)

PATH = "/{prefix:path}api-ws/v1/inference"
"""With anything in front: the C++ SDK wants `dashscope` somewhere in its URL."""


class ConnectionManager:
    """The endpoint; knows which connections are open."""

    def __init__(
        self,
        engine: Engine,
        access: Access,
        lists: Vocabularies,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._access = access
        self._settings = settings
        seats = ConcurrencyLimit(settings.max_tasks_per_key)
        self._house = ServerContext(engine, settings, seats, Hotwords(lists), metrics)
        self._metrics = metrics
        self._open: set[Connection] = set()
        self._emptied = asyncio.Event()
        self.draining = False
        """Whether clients are being sent away."""
        metrics.open_connections.set_function(lambda: len(self._open))
        self.router = APIRouter()
        self.router.add_api_websocket_route(PATH, self.connect)
        self.router.add_api_websocket_route(PATH + "/", self.connect)

    async def connect(self, websocket: WebSocket) -> None:
        """Accept a client and serve it, or answer with an HTTP status before the upgrade."""
        try:
            caller = self._admit(websocket)
        except AsrError as error:
            self._metrics.errors.labels(error.code).inc()
            log.debug("handshake refused", extra={"error": error.code})
            await websocket.send_denial_response(refusal(error))
            return
        connection = Connection(websocket, caller, self._house)
        self._open.add(connection)
        log.debug("connection open", extra={"caller": caller, "connections": len(self._open)})
        try:
            await websocket.accept()
            await connection.run()
        finally:
            self._open.remove(connection)
            log.debug("connection closed", extra={"caller": caller, "connections": len(self._open)})
            if not self._open:
                self._emptied.set()

    async def drain(self) -> None:
        """Let nobody in, let running tasks finish, and return once every connection is closed.

        Tasks that take longer than the settings allow fail, and may be sent again elsewhere.
        """
        self.draining = True
        timeout_s = self._settings.drain_timeout_s
        tasks = self._house.engine.open_streams
        log.info("draining", extra={"tasks": tasks, "timeout_s": timeout_s})
        for connection in self._open:
            connection.leave()
        if await self._empty_within(timeout_s):
            log.info("drained")
            return
        log.warning("drained by force", extra={"tasks": self._house.engine.open_streams})
        for connection in self._open:
            connection.give_up()
        await self._empty_within(self._settings.close_timeout_s)

    async def _empty_within(self, seconds: float) -> bool:
        self._emptied.clear()
        if self._open:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), seconds)
        return not self._open

    def _admit(self, websocket: WebSocket) -> Caller:
        if self.draining:
            raise ShuttingDown
        key = websocket.headers.get("authorization")
        caller = self._access.check(key, query_key(websocket.scope))
        origin = websocket.headers.get("origin")
        allowed = self._settings.allowed_origins
        if origin and "*" not in allowed and origin not in allowed:
            raise AccessDenied
        if len(self._open) >= self._settings.max_connections:
            raise ServiceUnavailable
        return caller
