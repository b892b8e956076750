"""Run clients that misbehave, for tests and measurements of the streams beside them.

Each function is a context manager: its clients misbehave from the moment it is entered until it is
left. `recording` is the audio they send.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect

from asr_client.protocol import DEFAULT_MODEL, run_task
from asr_server.load.client_run import Target, run_client
from asr_server.load.recordings import Recording

TCP_REPAIR = 19
"""Linux socket option: a socket closed in this mode sends no packet."""


@asynccontextmanager
async def idle_connections(url: str, recording: Recording) -> AsyncIterator[None]:
    """Open 1000 connections without a task."""
    async with contextlib.AsyncExitStack() as connections:
        for _ in range(20):
            await asyncio.gather(
                *(connections.enter_async_context(_connected(url)) for _ in range(50)),
                return_exceptions=True,  # the last ones exceed the limit
            )
        yield


@asynccontextmanager
async def no_handshakes(url: str, recording: Recording) -> AsyncIterator[None]:
    """Open 500 TCP connections that send nothing, or half a request."""
    sockets = []
    for number in range(500):
        sockets.append(opened := await _tcp(url))
        if number % 2:
            opened[1].write(b"GET /api-ws/v1/inference HTTP/1.1\r\nUpgrade: webso")
    yield
    for _, writer in sockets:
        writer.transport.abort()


@asynccontextmanager
async def slow_readers(url: str, recording: Recording) -> AsyncIterator[None]:
    """Run 6 clients that send audio and read no result."""

    async def client() -> None:
        with contextlib.suppress(Exception):
            async with _connected(url, max_queue=1) as websocket:
                websocket.transport.pause_reading()
                await websocket.send(_run_task("slow-reader", recording))
                while True:
                    for frame in recording.frames:
                        await websocket.send(frame)
                        await asyncio.sleep(0.1)

    async with _running(client for _ in range(6)):
        yield


@asynccontextmanager
async def slow_senders(url: str, recording: Recording) -> AsyncIterator[None]:
    """Run 30 tasks that send 20 ms of audio every 5 s; their starts are apart, or they were a
    burst."""

    async def client(number: int) -> None:
        await asyncio.sleep(0.2 * number)
        with contextlib.suppress(Exception):
            async with _connected(url) as websocket:
                await websocket.send(_run_task("slow-sender", recording))
                while True:
                    await websocket.send(recording.frames[0][:640])
                    await asyncio.sleep(5)

    async with _running(lambda number=number: client(number) for number in range(30)):
        yield


@asynccontextmanager
async def vanished(url: str, recording: Recording) -> AsyncIterator[None]:
    """Leave 30 tasks in the middle as a machine without power does: no FIN, no RST, no answer."""
    for number in range(30):
        websocket = await connect(url, compression=None, ping_interval=None)
        await websocket.send(_run_task(f"vanished-{number}", recording))
        for frame in recording.frames[:8]:
            await websocket.send(frame)
        await asyncio.sleep(0.05)
        _abandon(websocket.transport)
    yield


@asynccontextmanager
async def reconnect_storm(url: str, recording: Recording) -> AsyncIterator[None]:
    """Connect 50 times a second, begin a task, and disconnect."""

    async def client() -> None:
        rng = random.Random(1)
        while True:
            with contextlib.suppress(Exception):
                websocket = await connect(url, compression=None, ping_interval=None)
                await websocket.send(_run_task("storm", recording))
                await websocket.send(recording.frames[5])
                if rng.random() < 0.5:
                    websocket.transport.abort()
                else:
                    await websocket.close()
            await asyncio.sleep(0.1)

    async with _running(client for _ in range(5)):
        yield


@asynccontextmanager
async def nonsense(url: str, recording: Recording) -> AsyncIterator[None]:
    """Run 20 clients that send garbage again and again."""

    async def client(seed: int) -> None:
        rng = random.Random(seed)
        while True:
            with contextlib.suppress(Exception):
                async with _connected(url) as websocket:
                    await websocket.send(_run_task("nonsense", recording))
                    for _ in range(rng.randrange(10)):
                        await websocket.send(rng.randbytes(rng.randrange(20_000)))
                    await websocket.send(rng.choice(["{", "[]", '{"header":{}}', "x" * 100_000]))
                    await websocket.recv()
            await asyncio.sleep(0.1)

    async with _running(lambda seed=seed: client(seed) for seed in range(20)):
        yield


@asynccontextmanager
async def bulk(url: str, recording: Recording) -> AsyncIterator[None]:
    """Send two files at a time as fast as the server takes them."""

    async def client() -> None:
        while True:
            await run_client(Target(url, pace=0, timeout_s=600), recording)

    async with _running(client for _ in range(2)):
        yield


Misbehaviour = Callable[[str, Recording], AbstractAsyncContextManager[None]]

MISBEHAVIOURS: dict[str, Misbehaviour] = {
    "idle_connections": idle_connections,
    "no_handshakes": no_handshakes,
    "slow_readers": slow_readers,
    "slow_senders": slow_senders,
    "vanished": vanished,
    "reconnect_storm": reconnect_storm,
    "nonsense": nonsense,
    "bulk": bulk,
}


def _run_task(task_id: str, recording: Recording) -> str:
    return run_task(task_id, DEFAULT_MODEL, Target("").task_parameters(recording))


def _connected(url: str, **options: Any) -> connect:
    return connect(url, compression=None, ping_interval=None, close_timeout=0.5, **options)


async def _tcp(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


def _abandon(transport: Any) -> None:
    """Discard a socket without a packet to its peer."""
    own: socket.socket = transport.get_extra_info("socket")
    if own.fileno() < 0:  # the server closed it first
        return
    copy = socket.socket(fileno=socket.dup(own.fileno()))
    try:
        copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError:  # without CAP_NET_ADMIN the socket stays open and unread
        transport.pause_reading()
        return
    copy.close()
    transport.abort()


@asynccontextmanager
async def _running(
    clients: Iterable[Callable[[], Coroutine[Any, Any, None]]],
) -> AsyncIterator[None]:
    """Run clients until the context is left."""
    tasks = {asyncio.create_task(client(), name="misbehaving client") for client in clients}
    try:
        yield
    finally:
        while tasks:  # repeatedly: until Python 3.12 `wait_for` may swallow a cancellation
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=1)
