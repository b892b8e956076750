"""A real server on a free port in this event loop, and a client of raw frames."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import websockets
from uvicorn import Config

from asr_client import protocol
from asr_client.protocol import DEFAULT_MODEL, PATH
from asr_server.app import create_app
from asr_server.asr.engine import Engine
from asr_server.process.serving import Server, options
from asr_server.settings import Settings
from tests.support.decoding import POOL
from tests.support.fake_backend import FakeBackend

RATE = 16_000
QUIET = np.zeros(RATE, "<i2").tobytes()
"""A second of silence."""
LOUD = (8000 * np.sin(np.arange(RATE) * 0.3)).astype("<i2").tobytes()
"""A second that the fake backend classifies as speech: about two 字."""
FRAME = 3200
"""Bytes of 100 ms."""

NO_LOAD_LIMIT = {"max_delay_ms": 0}
"""Admission must not depend on how busy this machine is."""
SMALL_DEMO: dict[str, Any] = {"model": "demo", "max_tasks": 4, "second_pass": "off"}
"""The demo model for a few streams, because the warm-up takes time for each size of a batch."""


@dataclass(frozen=True)
class Served:
    """The port of a running server, and its engine."""

    port: int
    engine: Engine

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{PATH}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class PromptServer(Server):
    """Stop at once: uvicorn looks every 0.1 s whether it should."""

    def __init__(self, config: Config, listening: Callable[[int], None]) -> None:
        super().__init__(config, listening)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        tenths = 0
        while not await self.on_tick(tenths):
            tenths += 1
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 0.1)


@asynccontextmanager
async def serving(uvicorn: dict[str, Any] | None = None, **overrides: Any) -> AsyncIterator[Served]:
    """Run a server, with the fake backend unless the settings name another.

    `uvicorn` overrides the server's options of uvicorn, as a command line might.
    """
    settings = Settings(
        **{"model": "fake", "host": "127.0.0.1", "port": 0, **NO_LOAD_LIMIT, **overrides}
    )
    load = FakeBackend if settings.model == "fake" else None
    app = create_app(settings, load=load, decoders=POOL)
    ports: asyncio.Queue[int] = asyncio.Queue()
    server = PromptServer(Config(app, **{**options(settings), **(uvicorn or {})}), ports.put_nowait)
    running = asyncio.create_task(server.serve(), name="uvicorn")
    listening = asyncio.create_task(ports.get(), name="port")
    await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
        raise RuntimeError("the server did not start")
    try:
        yield Served(listening.result(), app.state.engine)
    finally:
        server.stop()
        await running


def run_task(task_id: str = "task", model: str = DEFAULT_MODEL, **parameters: Any) -> str:
    """Return a run-task frame."""
    return protocol.run_task(task_id, model, {"format": "pcm", "sample_rate": RATE, **parameters})


def finish_task(task_id: str = "task") -> str:
    """Return a finish-task frame."""
    return protocol.finish_task(task_id)


def http_client(**options: Any) -> httpx2.AsyncClient:
    """Return an HTTP client without certificates, which take 45 ms to load."""
    return httpx2.AsyncClient(trust_env=False, verify=False, **options)


class Client:
    """Sends and receives frames, whether or not they follow the protocol."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def say(self, *messages: str | bytes) -> None:
        """Send frames."""
        for message in messages:
            await self.socket.send(message)

    async def stream(self, audio: bytes, frame: int = FRAME) -> None:
        """Send audio in frames, as fast as the socket takes them."""
        for begin in range(0, len(audio), frame):
            await self.socket.send(audio[begin : begin + frame])

    async def event(self) -> dict[str, Any]:
        """Return the next event."""
        async with within(5):
            return json.loads(await self.socket.recv())

    async def until(self, *names: str) -> list[dict[str, Any]]:
        """Return all events up to the first with one of these names, or task-failed."""
        events = [await self.event()]
        while events[-1]["header"]["event"] not in (*names, "task-failed"):
            events.append(await self.event())
        return events

    async def closed(self) -> int:
        """Return the close code of the server, whatever events come before."""
        async with within(5):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.socket.recv()
        assert self.socket.close_code is not None
        return self.socket.close_code


@asynccontextmanager
async def connected(served: Served, path: str = "", **options: Any) -> AsyncIterator[Client]:
    """Connect a client to a server."""
    url = f"ws://127.0.0.1:{served.port}{path}" if path else served.url
    async with websockets.connect(url, compression=None, proxy=None, **options) as socket:
        yield Client(socket)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError if the block takes longer: `asyncio.timeout` for Python 3.10 as well."""
    task = asyncio.current_task()
    assert task is not None
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        yield
    except asyncio.CancelledError:
        if expired:
            raise TimeoutError(f"the block took longer than {seconds} s") from None
        raise
    finally:
        timer.cancel()


async def becomes(engine: Engine, state: str) -> None:
    """Return once an engine is in a state."""
    for _ in range(2000):
        if engine.state == state:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"the engine is {engine.state}, not {state}")


def texts(events: list[dict[str, Any]]) -> list[str]:
    """Return the texts of the finals among events."""
    sentences = [
        event["payload"]["output"]["sentence"]
        for event in events
        if event["header"]["event"] == "result-generated"
    ]
    return [sentence["text"] for sentence in sentences if sentence["end_time"] is not None]


def names(events: list[dict[str, Any]]) -> list[str]:
    """Return the names of events."""
    return [event["header"]["event"] for event in events]


def error(events: list[dict[str, Any]]) -> tuple[str, str]:
    """Return code and message of the task-failed at the end of events."""
    header = events[-1]["header"]
    return header["error_code"], header["error_message"]
