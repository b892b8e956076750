"""A client of the protocol: one recording, one task, its sentences.

It says and reads what every DashScope client does, so it works with this server, inside the process
or anywhere, and with others that speak the same. Audio is sent as quickly as the server takes it.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from asr_server.protocol import requests
from asr_server.protocol.events import Sentence, Word
from asr_server.recordings.files import Recording

PATH = "/api-ws/v1/inference"
DEFAULT_MODEL = "paraformer-realtime-v2"
FRAME_BYTES = 32 * 1024
BUSY_PAUSES_S = (0.5, 1.0, 2.0, *75 * (4.0,))
"""Waits before a server that has no place for a task is asked again: five minutes of them."""


class RecognitionError(Exception):
    """A server did not recognise a recording; says why."""


class ServerBusy(RecognitionError):
    """It has no place for the task now."""


class Unreachable(RecognitionError):
    """There is no server, or it lets nobody in: the next recording will fare no better."""


class Closed(Exception):
    """The other side has closed the connection."""


class Connection(Protocol):
    """One WebSocket."""

    async def send(self, message: str | bytes) -> None:
        """Returns once there is room for more. Raises Closed."""
        ...

    async def recv(self) -> str | bytes:
        """The next message. Raises Closed."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a server beside the recording."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str = DEFAULT_MODEL


async def recognise(
    connect: Connect,
    recording: Recording,
    request: Request,
    sent: Callable[[float], None] = lambda position: None,
) -> AsyncGenerator[Sentence, None]:
    """The final sentences of a recording; `sent` is told what share of it has gone out.

    Raises RecognitionError and RecordingError.
    """
    begun = False
    for pause_s in (*BUSY_PAUSES_S, None):
        try:
            async with aclosing(_one_task(connect, recording, request, sent)) as sentences:
                async for sentence in sentences:
                    begun = True
                    yield sentence
            return
        except ServerBusy:
            if begun or pause_s is None:
                raise
            await asyncio.sleep(pause_s)


async def _one_task(
    connect: Connect, recording: Recording, request: Request, sent: Callable[[float], None]
) -> AsyncGenerator[Sentence, None]:
    task_id = uuid.uuid4().hex
    async with connect() as connection:
        try:
            await connection.send(_run_task(task_id, recording, request))
            async for _ in _events(connection, "task-started"):
                pass
            sending = asyncio.create_task(_send(connection, task_id, recording, sent), name="send")
            try:
                async with aclosing(_events(connection, "task-finished", sending)) as messages:
                    async for message in messages:
                        if sentence := _final(message):
                            yield sentence
            finally:
                sending.cancel()
                await asyncio.wait({sending})
        except Closed as exc:
            raise RecognitionError("the server closed the connection") from exc


async def _events(
    connection: Connection, last: str, sending: asyncio.Task[None] | None = None
) -> AsyncGenerator[dict[str, Any], None]:
    """Messages up to the one with this name. Raises what kept the recording from being sent."""
    while True:
        receiving = asyncio.ensure_future(connection.recv())
        try:
            if sending is not None:
                await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
            message = json.loads(await receiving)
        finally:
            receiving.cancel()
        header = message["header"]
        if header["event"] == "task-failed":
            raise _failure(header)
        yield message
        if header["event"] == last:
            return


async def _send(
    connection: Connection, task_id: str, recording: Recording, sent: Callable[[float], None]
) -> None:
    pieces = recording.pieces()
    try:
        while piece := await asyncio.to_thread(next, pieces, None):
            for begin in range(0, len(piece.data), FRAME_BYTES):
                await connection.send(piece.data[begin : begin + FRAME_BYTES])
            sent(piece.position)
        await connection.send(requests.finish_task(task_id))
    except Closed:  # whoever receives is told why
        return


def _failure(header: dict[str, Any]) -> RecognitionError:
    code, message = header.get("error_code") or "", header.get("error_message") or ""
    if code.startswith("Throttling"):
        return ServerBusy(f"the server is full ({code})")
    if code == "ModelNotFound":
        return Unreachable(f"the server knows no such model: {message}")
    return RecognitionError(f"{code}: {message}" if code else message or "the task failed")


def _run_task(task_id: str, recording: Recording, request: Request) -> str:
    parameters = {
        "heartbeat": True,  # or a minute without speech would fail the task
        **request.parameters,
        "format": recording.format,
        "sample_rate": recording.sample_rate,
    }
    return requests.run_task(task_id, request.model, parameters)


def _final(message: dict[str, Any]) -> Sentence | None:
    """The sentence of a message, if it is over; Gummy calls it a transcription."""
    output = message["payload"].get("output") or {}
    raw = output.get("sentence") or output.get("transcription") or {}
    if raw.get("end_time") is None or raw.get("heartbeat"):
        return None
    return Sentence(
        sentence_id=raw.get("sentence_id") or 0,
        begin_time=raw.get("begin_time") or 0,
        end_time=raw["end_time"],
        text=raw.get("text") or "",
        words=tuple(map(_word, raw.get("words") or ())),
    )


def _word(raw: dict[str, Any]) -> Word:
    return Word(
        begin_time=raw["begin_time"],
        end_time=raw["end_time"],
        text=raw["text"],
        punctuation=raw.get("punctuation") or "",
        confidence=raw.get("confidence"),
    )


# A server somewhere ------------------------------------------------------------------------------


def endpoint(url: str) -> str:
    """The WebSocket address: http becomes ws, and a bare host gets the protocol's path."""
    parts = urlsplit(url if "://" in url else f"ws://{url}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = PATH if parts.path in ("", "/") else parts.path
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def remote(url: str, api_key: str | None = None) -> Connect:
    """UvicornCompat to a server at an address."""
    address = endpoint(url)
    headers = {"Authorization": f"bearer {api_key}"} if api_key else {}

    @asynccontextmanager
    async def connect() -> AsyncIterator[Connection]:
        try:
            socket = await websocket(
                address, additional_headers=headers, compression=None, max_size=None
            )
        except InvalidStatus as exc:
            raise _refused(exc.response.status_code) from exc
        except (OSError, InvalidHandshake, InvalidURI, asyncio.TimeoutError) as exc:
            raise Unreachable(f"no server answers at {shown(address)}: {exc}") from exc
        async with socket:
            yield _Socket(socket)

    return connect


def _refused(status: int) -> RecognitionError:
    if status in (401, 403):
        return Unreachable(f"the server refuses the API key (HTTP {status}); see --api-key")
    if status in (429, 503):
        return ServerBusy(f"the server is full (HTTP {status})")
    return Unreachable(f"no recogniser at this address (HTTP {status}); see --url")


def shown(url: str) -> str:
    """An address for people: without what may be a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _Socket:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as exc:
            raise Closed from exc

    async def recv(self) -> str | bytes:
        try:
            return await self._socket.recv()
        except ConnectionClosed as exc:
            raise Closed from exc
