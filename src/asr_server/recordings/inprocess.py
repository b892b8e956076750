"""The whole server inside this process: all that a client meets but the socket.

Access, session, decoder and engine are those of `serve`; a connection is an ASGI WebSocket, the
same that uvicorn would hand over. A sender waits until the server has read, as on a full socket.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from asr_client.protocol import PATH
from asr_server.settings import Settings

A_DAY_S = 86_400


def bulk_settings(settings: Settings, streams: int) -> Settings:
    """Return the settings of the same recogniser without access control, limits and interims."""
    return settings.model_copy(
        update={
            "max_tasks": streams,
            "max_delay_ms": 0,  # throughput matters, latency does not
            "max_connections": streams,
            "max_tasks_per_key": 0,
            "max_requests_per_minute": 0,
            "api_keys": (),
            "api_keys_file": None,
            "input_timeout_s": A_DAY_S,  # stdin may be slow, and no other client needs the slot
            "connection_timeout_s": A_DAY_S,
            "previews": False,
            "result_interval_ms": 60_000,
        }
    )


class InProcess:
    """A running server; calling it opens a connection (`asr_client.connection.Connect`)."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.device: str = app.state.engine.device
        self.dtype: str = app.state.engine.dtype
        """The precision in use, whatever the settings ask for."""
        self.no_second_pass: str = app.state.engine.no_second_pass
        """Why there is no second pass, or nothing."""

    async def __call__(self) -> "Pipe":
        """Return an open connection."""
        return Pipe(self._app)


@asynccontextmanager
async def in_process(app: FastAPI) -> AsyncIterator[InProcess]:
    """Run a server as long as the block. Loading the model takes seconds."""
    async with app.router.lifespan_context(app):
        yield InProcess(app)


class Pipe:
    """Both ends of one WebSocket: the client's (`Transport`) and the ASGI application's."""

    def __init__(self, app: Any) -> None:
        self._inward: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        self._outward: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._inward.put_nowait({"type": "websocket.connect"})
        self._closed = asyncio.Event()
        """Set once the application reads no more."""
        self._close_frame: Close | None = None
        self._serving = asyncio.create_task(self._serve(app), name="connection")

    async def send(self, message: str | bytes, /) -> None:
        """Return once the application has read the message before. Raises ConnectionClosed."""
        kind = "text" if isinstance(message, str) else "bytes"
        event = {"type": "websocket.receive", kind: message}
        putting = asyncio.ensure_future(self._inward.put(event))
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({putting, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not putting.done():
                raise self._connection_closed()
        finally:
            putting.cancel()
            closing.cancel()

    async def recv(self) -> str | bytes:
        """Return the next message. Raises ConnectionClosed."""
        message = await self._outward.get()
        if message is None:
            raise self._connection_closed()
        return message

    async def ping(self) -> Awaitable[None]:
        """Return what is done at once, as a pong would be. Raises ConnectionClosed."""
        if self._closed.is_set():
            raise self._connection_closed()
        return asyncio.sleep(0)

    async def close(self) -> None:
        """Disconnect, and return once the application has ended the connection."""
        with suppress(asyncio.QueueEmpty):
            self._inward.get_nowait()  # unread, and never will be read
        self._inward.put_nowait({"type": "websocket.disconnect", "code": 1005})
        await self._serving

    async def _serve(self, app: Any) -> None:
        scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "path": PATH,
            "query_string": b"",
            "headers": [],
            "extensions": {"websocket.http.response": {}},
        }
        try:
            await app(scope, self._inward.get, self._take)
        finally:
            self._end()

    async def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            self._outward.put_nowait(message.get("text") or message.get("bytes") or "")
        elif message["type"] == "websocket.close":
            self._close_frame = Close(message.get("code", 1000), message.get("reason") or "")
            self._end()

    def _end(self) -> None:
        self._closed.set()
        self._outward.put_nowait(None)

    def _connection_closed(self) -> ConnectionClosedError:
        return ConnectionClosedError(self._close_frame, None)
