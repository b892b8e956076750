"""`/api-ws/v1/inference`: who may connect, and how many."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from asr_server.access import Access, Caller
from asr_server.asr.engine import Engine
from asr_server.errors import AccessDenied, AsrError, ServiceUnavailable
from asr_server.metrics import Metrics
from asr_server.settings import Settings
from asr_server.vocabularies import Vocabularies
from asr_server.websocket.connection import Connection, House
from asr_server.websocket.hotwords import Hotwords
from asr_server.websocket.refusals import refusal
from asr_server.websocket.seats import Seats
from asr_server.websocket.server import query_key

PATH = "/{prefix:path}api-ws/v1/inference"
"""With anything in front: the C++ SDK wants `dashscope` somewhere in its URL."""


class Inference:
    """The endpoint; knows how many connections are open."""

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
        seats = Seats(settings.max_tasks_per_key)
        self._house = House(engine, settings, seats, Hotwords(lists), metrics)
        self._metrics = metrics
        self._open = 0
        metrics.open_connections.set_function(lambda: self._open)
        self.router = APIRouter()
        self.router.add_api_websocket_route(PATH, self.connect)
        self.router.add_api_websocket_route(PATH + "/", self.connect)

    async def connect(self, websocket: WebSocket) -> None:
        """Accept a client and serve it, or answer with an HTTP status before the upgrade."""
        try:
            caller = self._admit(websocket)
        except AsrError as error:
            self._metrics.errors.labels(error.code).inc()
            await websocket.send_denial_response(refusal(error))
            return
        self._open += 1
        try:
            await websocket.accept()
            await Connection(websocket, caller, self._house).run()
        finally:
            self._open -= 1

    def _admit(self, websocket: WebSocket) -> Caller:
        key = websocket.headers.get("authorization")
        caller = self._access.check(key, query_key(websocket.scope))
        origin = websocket.headers.get("origin")
        allowed = self._settings.allowed_origins
        if origin and "*" not in allowed and origin not in allowed:
            raise AccessDenied
        if self._open >= self._settings.max_connections:
            raise ServiceUnavailable
        return caller
