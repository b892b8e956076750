"""The whole server inside this process: everything a client meets but the socket.

Access, session, decoder and engine are those of `serve`; a connection is an ASGI WebSocket, the
same that uvicorn would hand over. A sender waits until the server has read, as on a full socket.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from asr_server.app import create_app
from asr_server.recordings.client import PATH, Closed, Connection
from asr_server.settings import Settings

A_DAY_S = 86_400


def for_recordings(settings: Settings, streams: int) -> Settings:
    """The same recogniser without what is for strangers, microphones and watching eyes."""
    return settings.model_copy(
        update={
            "max_tasks": streams,
            "max_delay_ms": 0,  # nobody waits for text
            "max_connections": streams,
            "max_tasks_per_key": 0,
            "max_requests_per_minute": 0,
            "api_keys": (),
            "api_keys_file": "",
            "input_timeout_s": A_DAY_S,  # a pipe may be slow, and nobody else wants the place
            "connection_timeout_s": A_DAY_S,
            "previews": False,
            "result_interval_ms": 60_000,
        }
    )


class InProcess:
    """A server that runs; called, it gives a connection (a `Connect`)."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.device: str = app.state.engine.device
        """Where the model runs."""
        self.dtype: str = app.state.engine.dtype
        """In which precision, whatever was asked for."""

    def __call__(self) -> AbstractAsyncContextManager[Connection]:
        """A connection, open as long as the block."""
        return self._connection()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        pipe = Pipe()
        serving = asyncio.create_task(pipe.serve(self._app), name="connection")
        try:
            yield pipe
        finally:
            pipe.hang_up()
            await serving


@asynccontextmanager
async def in_process(settings: Settings) -> AsyncIterator[InProcess]:
    """A server that lives as long as the block. Loading takes seconds."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield InProcess(app)


class Pipe:
    """Both ends of one WebSocket: the client's `send` and `recv`, and the application's."""

    def __init__(self) -> None:
        self._inward: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        self._outward: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._inward.put_nowait({"type": "websocket.connect"})
        self._closed = asyncio.Event()
        """Nothing will be read of what the client says."""

    async def send(self, message: str | bytes) -> None:
        """Returns once the application has read what was sent before. Raises Closed."""
        kind = "text" if isinstance(message, str) else "bytes"
        putting = asyncio.ensure_future(
            self._inward.put({"type": "websocket.receive", kind: message})
        )
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({putting, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not putting.done():
                raise Closed
        finally:
            putting.cancel()
            closing.cancel()

    async def recv(self) -> str | bytes:
        """The next message. Raises Closed."""
        message = await self._outward.get()
        if message is None:
            raise Closed
        return message

    def hang_up(self) -> None:
        """The client is gone, whatever it has sent that nobody read."""
        with suppress(asyncio.QueueEmpty):
            self._inward.get_nowait()
        self._inward.put_nowait({"type": "websocket.disconnect", "code": 1005})

    async def serve(self, app: Any) -> None:
        """Let the application speak with the client until either has enough."""
        scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [],
            "client": None,
            "server": None,
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
            "state": {},
        }
        try:
            await app(scope, self._inward.get, self._take)
        finally:
            self._closed.set()
            self._outward.put_nowait(None)

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            self._outward.put_nowait(message.get("text") or message.get("bytes") or "")
        elif message["type"] == "websocket.close":
            self._closed.set()
            self._outward.put_nowait(None)
