"""Attack by quantity: messages, pings, sockets, requests and slots.

Functions that are no coroutines return bytes. Each coroutine attacks the server at a URL, such as
`ws://127.0.0.1:8000`, until it is cancelled.
"""

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import websockets

from asr_client.protocol import DEFAULT_MODEL, PATH, run_task

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9
CLIENTS = 4
HEARTBEAT = {"format": "pcm", "sample_rate": 16_000, "heartbeat": True}
CONTINUE_TASK = (
    '{"header":{"action":"continue-task","task_id":"hoard","streaming":"duplex"},'
    '"payload":{"input":{}}}'
)


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Return a WebSocket frame of a client; its mask is zero."""
    length = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 1 << 16:
        head += bytes([0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + length.to_bytes(8, "big")
    return head + bytes(4) + payload


def handshake(path: str = PATH) -> bytes:
    """Return the request that opens a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def endless_post(path: str = "/api/v1/services/audio/asr/customization") -> bytes:
    """Return the head of a request whose body never ends."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 100000\r\n\r\n{"
    ).encode()


@asynccontextmanager
async def tcp(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a TCP connection to the server of a URL."""
    address = urlsplit(url)
    assert address.hostname
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def upgraded(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a WebSocket to which the caller writes frames as bytes."""
    async with tcp(url) as (reader, writer):
        writer.write(handshake())
        await reader.readuntil(b"\r\n\r\n")
        yield reader, writer


async def _again(attack: Callable[[], Awaitable[None]], clients: int = CLIENTS) -> None:
    """Run clients that attack, and begin anew whenever the server disconnects them."""

    async def client() -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, websockets.WebSocketException):
                await attack()
            await asyncio.sleep(0.01)

    await asyncio.gather(*(client() for _ in range(clients)))


async def _flood(url: str, *frames: bytes) -> None:
    """Send frames over and over, as fast as the socket takes them, and read nothing."""
    block = b"".join(frames)

    async def attack() -> None:
        async with upgraded(url) as (_, writer):
            while True:
                writer.write(block)
                await writer.drain()

    await _again(attack)


async def empty_messages(url: str) -> None:
    """Send empty messages: the cheapest for the client."""
    await _flood(url, *[frame(BINARY)] * 2000)


async def one_byte_messages(url: str) -> None:
    """Send messages of one byte each, in a task."""
    task = frame(TEXT, run_task("flood", DEFAULT_MODEL, HEARTBEAT).encode())
    block = frame(BINARY, b"\0") * 2000

    async def attack() -> None:
        async with upgraded(url) as (_, writer):
            writer.write(task)
            while True:
                writer.write(block)
                await writer.drain()

    await _again(attack)


async def endless_fragments(url: str) -> None:
    """Send empty fragments of a message that never ends."""
    block = frame(CONTINUATION, final=False) * 2000

    async def attack() -> None:
        async with upgraded(url) as (_, writer):
            writer.write(frame(BINARY, final=False))
            while True:
                writer.write(block)
                await writer.drain()

    await _again(attack)


async def small_commands(url: str) -> None:
    """Send commands that belong to no task."""
    await _flood(url, *[frame(TEXT, CONTINUE_TASK.encode())] * 500)


async def audio_without_a_task(url: str) -> None:
    """Send audio as fast as the socket takes it, outside of any task."""
    await _flood(url, *[frame(BINARY, bytes(320))] * 200)


async def unread_pongs(url: str) -> None:
    """Send pings and never read the pongs."""
    await _flood(url, *[frame(PING, bytes(125))] * 500)


async def silent_sockets(url: str, count: int = 1100) -> None:
    """Hold sockets open that send nothing."""

    async def attack() -> None:
        async with tcp(url) as (reader, _):
            await reader.read()

    await _again(attack, count)


async def slow_heads(url: str, count: int = 200) -> None:
    """Send the head of a request a byte at a time."""

    async def attack() -> None:
        async with tcp(url) as (_, writer):
            for byte in b"GET / HTTP/1.1\r\nX-Padding: " + b"x" * 100_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)

    await _again(attack, count)


async def slow_bodies(url: str, count: int = 200) -> None:
    """Send the body of a request a byte at a time."""

    async def attack() -> None:
        async with tcp(url) as (_, writer):
            writer.write(endless_post())
            while True:
                await writer.drain()
                await asyncio.sleep(1)
                writer.write(b" ")

    await _again(attack, count)


async def hoarded_slots(url: str, count: int = 64) -> None:
    """Open tasks that bring no audio, and keep them with continue-task."""

    async def attack() -> None:
        async with websockets.connect(url + PATH, compression=None, proxy=None) as socket:
            await socket.send(run_task("hoard", DEFAULT_MODEL, HEARTBEAT))
            while True:
                await asyncio.sleep(15)
                await socket.send(CONTINUE_TASK)

    await _again(attack, count)


async def large_messages(url: str, size: int = 5 * 1024 * 1024) -> None:
    """Send messages above the size limit."""
    await _flood(url, frame(BINARY, bytes(size)))
