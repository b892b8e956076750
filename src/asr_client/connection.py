"""Connections to a server, and one recognition task on a connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from importlib import metadata
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI

from asr_client.errors import AsrError, ServerAway, ServerBusy, Unauthorized, task_error
from asr_client.protocol import PATH, Message, __version__, finish_task, parse_message, run_task

T = TypeVar("T")
OnWire = Callable[[Literal["in", "out"], "str | bytes"], None]


class Transport(Protocol):
    """A WebSocket or its like; the methods raise `websockets.exceptions.ConnectionClosed`."""

    async def send(self, message: str | bytes, /) -> None: ...

    async def recv(self) -> str | bytes: ...

    async def ping(self) -> Awaitable[Any]: ...

    async def close(self) -> None: ...


Connect = Callable[[], Awaitable[Transport]]


async def open_websocket(
    url: str,
    api_key: str | None = None,
    open_timeout_s: float = 10.0,
    ping_interval_s: float | None = 20,
) -> ClientConnection:
    """Return an open WebSocket; raises OSError, asyncio.TimeoutError or errors of websockets."""
    headers = {"User-Agent": f"AsrClient/{__version__} python"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return await connect(
        url,
        additional_headers=headers,
        compression=None,  # PCM does not compress
        open_timeout=open_timeout_s,
        close_timeout=2,
        max_size=None,
        ping_interval=ping_interval_s,
        ping_timeout=60,  # a ping queues behind a file that is sent in one go
        **_proxy(url),
    )


def _proxy(url: str) -> dict[str, Any]:
    """Disable proxies for this machine, whatever the environment configures."""
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    has_option = int(metadata.version("websockets").partition(".")[0]) >= 15
    return {"proxy": None} if local and has_option else {}


def connection_error(address: str, error: Exception) -> AsrError:
    """Return why no WebSocket could be opened, in words a user can act on."""
    if isinstance(error, InvalidStatus):
        return _refusal(address, error.response.status_code, error.response.body)
    if isinstance(error, InvalidURI):
        return _permanent(f"{address} is not a WebSocket address")
    reason = "no answer in time" if isinstance(error, asyncio.TimeoutError) else str(error)
    return ServerAway(f"cannot reach {address}: {reason}")


def _refusal(address: str, status: int, body: bytes | bytearray) -> AsrError:
    """Return what an HTTP status instead of a WebSocket means; `body` may hold code and message."""
    said: dict[str, Any] = {}
    with contextlib.suppress(ValueError, TypeError):
        said = dict(json.loads(body))
    because = f"HTTP {status}: {said['message']}" if said.get("message") else f"HTTP {status}"
    has_path = address.rstrip("/").endswith(PATH)
    if status in (429, 503):
        return ServerBusy(f"{address} is busy ({because})")
    if status == 401 or (status == 403 and has_path):
        code = str(said.get("code") or "InvalidApiKey")
        return Unauthorized(f"{address} refused the API key ({because})", code)
    if status >= 500:
        return ServerAway(f"{address} failed ({because})")
    return _permanent(f"{address} is no address of a server: it should end in {PATH} ({because})")


def _permanent(message: str) -> ServerAway:
    error = ServerAway(message)
    error.retryable = False
    return error


class ConnectionPool:
    """Opens connections to one server and keeps an idle one for the next task."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._idle: Transport | None = None

    async def acquire(self) -> Transport:
        """Return the idle connection if it is alive, else a new one."""
        idle, self._idle = self._idle, None
        if idle is not None and await self._is_alive(idle):
            return idle
        return await self._connect()

    async def release(self, connection: Transport) -> None:
        """Keep a connection for the next task."""
        previous, self._idle = self._idle, connection
        if previous is not None:
            await previous.close()

    async def close(self) -> None:
        """Close the idle connection."""
        idle, self._idle = self._idle, None
        if idle is not None:
            await idle.close()

    @staticmethod
    async def _is_alive(connection: Transport) -> bool:
        """Return whether the server has not closed the idle connection meanwhile."""
        try:
            await within(1, await connection.ping())
        except (ConnectionClosed, asyncio.TimeoutError):
            await connection.close()
            return False
        return True


class Task:
    """One recognition task on a connection: run-task, audio, finish-task; events come back.

    All methods raise ConnectionClosed; those that receive raise AsrError.
    """

    def __init__(self, connection: Transport, on_wire: OnWire | None = None) -> None:
        self.id = uuid.uuid4().hex
        self._connection = connection
        self._log = on_wire or (lambda direction, message: None)

    async def start(self, model: str, parameters: Mapping[str, Any], timeout_s: float) -> None:
        """Open the task and wait for the server to accept it. Raises asyncio.TimeoutError."""
        await self._send_text(run_task(self.id, model, parameters))
        while (await within(timeout_s, self._receive())).event != "task-started":
            pass

    async def send(self, audio: bytes) -> None:
        """Send one message of audio; waits while the socket is full."""
        await self._connection.send(audio)
        self._log("out", audio)

    async def finish(self) -> None:
        """State that all audio has been sent."""
        await self._send_text(finish_task(self.id))

    async def results(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the output of every result up to task-finished."""
        while (message := await self._receive()).event != "task-finished":
            if message.event == "result-generated":
                yield message.output

    async def _send_text(self, text: str) -> None:
        self._log("out", text)
        await self._connection.send(text)

    async def _receive(self) -> Message:
        data = await self._connection.recv()
        self._log("in", data)
        message = parse_message(data)
        if message.event == "task-failed":
            raise task_error(message.header)
        return message


async def within(seconds: float, awaitable: Awaitable[T]) -> T:
    """Return the result, or raise asyncio.TimeoutError.

    Before Python 3.12 `asyncio.wait_for` loses a cancellation that comes together with the
    result (python/cpython#86296): a stream whose source had failed would have gone on for ever.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
