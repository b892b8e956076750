"""A real server on a free port in this event loop, and a client that knows nothing but the wire."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import websockets
from uvicorn import Config

from asr_server.app import create_app
from asr_server.asr.engine import Engine
from asr_server.process.serving import Server, options
from asr_server.settings import Settings

RATE = 16_000
QUIET = np.zeros(RATE, "<i2").tobytes()
"""A second of silence."""
LOUD = (8000 * np.sin(np.arange(RATE) * 0.3)).astype("<i2").tobytes()
"""A second of what the fake backend takes for speech: about two 字."""
FRAME = 3200
"""Bytes of 100 ms."""

PATIENT = {"max_delay_ms": 0}
"""Refuses nobody for being late: that would test how busy this machine is."""


@dataclass(frozen=True)
class Served:
    """Where a server listens, and its inside."""

    port: int
    engine: Engine

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api-ws/v1/inference"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(uvicorn: dict[str, Any] | None = None, **overrides: Any) -> AsyncIterator[Served]:
    """A server with the fake backend unless the settings say otherwise.

    `uvicorn` overrules what the server tells uvicorn, as somebody's command line might.
    """
    settings = Settings(**{"model": "fake", "host": "127.0.0.1", "port": 0, **PATIENT, **overrides})
    app = create_app(settings)
    ports: asyncio.Queue[int] = asyncio.Queue()
    server = Server(Config(app, **{**options(settings), **(uvicorn or {})}), ports.put_nowait)
    running = asyncio.create_task(server.serve(), name="uvicorn")
    listening = asyncio.create_task(ports.get(), name="port")
    await asyncio.wait({running, listening}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
        raise RuntimeError("the server did not start")
    try:
        yield Served(listening.result(), app.state.engine)
    finally:
        server.should_exit = True
        await running


def run_task(
    task_id: str = "task", model: str = "paraformer-realtime-v2", **parameters: Any
) -> str:
    """A run-task frame."""
    parameters = {"format": "pcm", "sample_rate": RATE, **parameters}
    return json.dumps(
        {
            "header": {"action": "run-task", "task_id": task_id, "streaming": "duplex"},
            "payload": {
                "task_group": "audio",
                "task": "asr",
                "function": "recognition",
                "model": model,
                "parameters": parameters,
                "input": {},
            },
        }
    )


def finish_task(task_id: str = "task") -> str:
    """A finish-task frame."""
    header = {"action": "finish-task", "task_id": task_id, "streaming": "duplex"}
    return json.dumps({"header": header, "payload": {"input": {}}})


class Client:
    """Sends what it is told and keeps what it gets."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def say(self, *messages: str | bytes) -> None:
        for message in messages:
            await self.socket.send(message)

    async def stream(self, audio: bytes, frame: int = FRAME) -> None:
        """Audio in frames, as quickly as the socket takes them."""
        for begin in range(0, len(audio), frame):
            await self.socket.send(audio[begin : begin + frame])

    async def event(self) -> dict[str, Any]:
        """The next message."""
        async with within(5):
            return json.loads(await self.socket.recv())

    async def until(self, *names: str) -> list[dict[str, Any]]:
        """Every message up to the first with one of these names, or with task-failed."""
        events = [await self.event()]
        while events[-1]["header"]["event"] not in (*names, "task-failed"):
            events.append(await self.event())
        return events

    async def closed(self) -> int:
        """The code with which the server closes, whatever it says before."""
        async with within(5):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.socket.recv()
        assert self.socket.close_code is not None
        return self.socket.close_code


@asynccontextmanager
async def connected(served: Served, path: str = "", **options: Any) -> AsyncIterator[Client]:
    """A client of a server."""
    url = f"ws://127.0.0.1:{served.port}{path}" if path else served.url
    async with websockets.connect(url, compression=None, proxy=None, **options) as socket:
        yield Client(socket)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Cancel what takes longer; `asyncio.timeout` for Python 3.10 as well."""
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
            raise TimeoutError(f"nothing happened within {seconds} s") from None
        raise
    finally:
        timer.cancel()


async def becomes(engine: Engine, state: str) -> None:
    """Return once an engine is in a state."""
    for _ in range(2000):
        if engine.state == state:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"it is {engine.state}, not {state}")


def texts(events: list[dict[str, Any]]) -> list[str]:
    """The finals among events."""
    sentences = [
        event["payload"]["output"]["sentence"]
        for event in events
        if event["header"]["event"] == "result-generated"
    ]
    return [sentence["text"] for sentence in sentences if sentence["end_time"] is not None]


def names(events: list[dict[str, Any]]) -> list[str]:
    """What events are called."""
    return [event["header"]["event"] for event in events]


def error(events: list[dict[str, Any]]) -> tuple[str, str]:
    """Code and message of the task-failed at the end of events."""
    header = events[-1]["header"]
    return header["error_code"], header["error_message"]
