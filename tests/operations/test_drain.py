"""SIGTERM and SIGINT: no new tasks, open tasks run to their end, exit status 0."""

import asyncio
import json
import signal
import time
import wave
from pathlib import Path

import pytest
import websockets
from AsrClient import AsrClient, Parameters, Retry

from asr_server.access import ANONYMOUS
from asr_server.asr.engine import Engine
from asr_server.settings import Settings
from asr_server.websocket.connection import Connection
from asr_server.websocket.limits import ConcurrencyLimit
from asr_server.websocket.server_context import ServerContext
from tests.support import processes
from tests.support.databases import vocabularies
from tests.support.fake_backend import FakeBackend
from tests.support.processes import await_state, free_port, launched, state_of
from tests.support.scripted_socket import Socket
from tests.support.serving import (
    FRAME,
    LOUD,
    QUIET,
    Client,
    Served,
    connected,
    error,
    finish_task,
    http_client,
    names,
    run_task,
    texts,
    within,
)

DATA = Path(__file__).parents[1] / "data"
MAIN = ("main.py",)
UVICORN = ("-m", "uvicorn", "main:app", "--host", "127.0.0.1")
FRAME_S = 0.1


def at(port: int) -> Served:
    """Return the address of a server in another process."""
    return Served(port, None)


async def send_paced(client: Client, audio: bytes, pace: float = 1.0) -> None:
    """Send audio at `pace` times real time, by an absolute schedule."""
    began = time.monotonic()
    for n, begin in enumerate(range(0, len(audio), FRAME)):
        await asyncio.sleep(max(0.0, began + n * FRAME_S / pace - time.monotonic()))
        await client.say(audio[begin : begin + FRAME])


async def until_draining(port: int) -> None:
    await asyncio.to_thread(await_state, port, "draining", 5)


@pytest.mark.parametrize(
    ("command", "number", "status"),
    [
        (MAIN, signal.SIGTERM, 0),
        pytest.param(MAIN, signal.SIGINT, 0, marks=pytest.mark.slow),
        # uvicorn raises the signal again when done; supervisors take that for a clean exit.
        (UVICORN, signal.SIGTERM, -signal.SIGTERM),
    ],
    ids=["SIGTERM", "SIGINT", "plain uvicorn"],
)
async def test_an_open_task_gets_all_its_results_and_new_connections_are_refused(
    command, number, status
):
    port = free_port()
    command = (*command, "--port", str(port)) if command is UVICORN else command
    with launched(*command, port=port) as server:
        async with (
            connected(at(port)) as client,
            connected(at(port)) as idle,
            connected(at(port), "/v1/realtime") as realtime,
        ):
            await client.say(run_task())
            await client.until("task-started")
            await send_paced(client, LOUD[: 5 * FRAME], pace=2)
            server.process.send_signal(number)
            await until_draining(port)
            assert await idle.closed() == await realtime.closed() == 1001
            async with http_client() as http:
                alive = await http.get(f"http://127.0.0.1:{port}/healthz")
                assert alive.status_code == 200
            with pytest.raises(websockets.InvalidStatus) as refusal:
                async with connected(at(port)):
                    pass
            assert refusal.value.response.status_code == 503
            assert json.loads(refusal.value.response.body)["code"] == "ServiceUnavailable"
            await send_paced(client, LOUD[5 * FRAME :] + QUIET * 2 + LOUD, pace=2)
            await client.say(finish_task())
            events = await client.until("task-finished")
            assert names(events)[-1] == "task-finished"
            assert texts(events) == ["天地玄。", "天地玄。"]
            assert await client.closed() == 1001
        assert server.ended() == status
    messages = [record["message"] for record in server.records]
    assert messages.index("draining") < messages.index("task finished") < messages.index("drained")
    assert "Traceback" not in server.said


async def test_asr_server_serve_drains_with_the_real_recogniser(tmp_path):
    manifest = json.loads((DATA / "manifest.json").read_text("utf-8"))
    (expected,) = [entry for entry in manifest if entry["file"] == "phone.wav"]
    with wave.open(str(DATA / "phone.wav")) as recording:
        audio = recording.readframes(recording.getnframes())
    plain = {
        "punctuation_prediction_enabled": False,
        "inverse_text_normalization_enabled": False,
    }
    options = ("--model", "demo", "--host", "127.0.0.1", "--port", "0")
    with processes.serving(*options, cwd=tmp_path, ASR_MAX_TASKS="1") as server:
        port = server.port()
        async with connected(at(port)) as client:
            await client.say(run_task(**plain))
            await client.until("task-started")
            half = len(audio) // 2 // FRAME * FRAME
            await send_paced(client, audio[:half], pace=4)
            server.terminate()
            await until_draining(port)
            await send_paced(client, audio[half:], pace=4)
            await client.say(finish_task())
            events = await client.until("task-finished")
            assert "".join(texts(events)) == expected["text"]
        assert server.ended() == 0
    (line,) = [r for r in server.records if r["message"] == "task finished"]
    assert line["characters"] == len(expected["text"])
    assert "DEMO MODEL" in server.said


async def test_a_task_open_after_the_drain_timeout_fails_with_a_retryable_error():
    port = free_port()
    with launched(*MAIN, port=port, ASR_DRAIN_TIMEOUT_S="0.3") as server:
        async with connected(at(port)) as client:
            await client.say(run_task(), LOUD)
            await client.until("task-started")
            signalled_at = time.monotonic()
            server.terminate()
            events = await client.until("task-failed")
            code, message = error(events)
            assert code == "ServiceUnavailable"
            assert "shutting down" in message
            assert await client.closed() == 1000
        assert server.ended() == 0
        assert 0.3 <= time.monotonic() - signalled_at < 5
    (line,) = [r for r in server.records if r["message"] == "task failed"]
    assert (line["level"], line["error"]) == ("warning", "ServiceUnavailable")


async def test_a_second_signal_ends_the_process_at_once():
    port = free_port()
    with launched(*MAIN, port=port) as server:
        async with connected(at(port)) as client:
            await client.say(run_task(), LOUD)
            await client.until("task-started")
            server.terminate()
            server.terminate()  # supervisor and process group send one each: they count once
            await until_draining(port)
            await asyncio.sleep(1.1)
            assert server.process.poll() is None
            server.terminate()
            assert await asyncio.to_thread(server.ended, 2) == 128 + signal.SIGTERM
            with pytest.raises(websockets.ConnectionClosed):
                await client.until("task-finished")


async def test_a_client_that_does_not_read_cannot_block_the_exit():
    port = free_port()
    settings = {"ASR_DRAIN_TIMEOUT_S": "0.2", "ASR_CLOSE_TIMEOUT_S": "0.5"}
    with launched(*MAIN, port=port, **settings) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /api-ws/v1/inference HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        began = time.monotonic()
        assert await asyncio.to_thread(server.stop) == 0
        assert time.monotonic() - began < 5
        writer.close()


async def test_a_device_that_hangs_cannot_block_the_exit():
    script = """
import asyncio, threading
import numpy as np
from tests.support.fake_backend import FakeBackend
from asr_server.asr.engine import Engine
from asr_server.settings import Settings
from asr_server.asr.types import StreamOptions

class Hanging(FakeBackend):
    def detect(self, works):
        threading.Event().wait()

async def main():
    engine = Engine(Hanging, Settings(step_timeout_s=0.2))
    await engine.start()
    engine.open(StreamOptions()).push(np.zeros(16_000, dtype=np.float32))
    await asyncio.sleep(0.1)
    await engine.stop()

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(processes.COMMAND[0], "-c", script)
    try:
        async with within(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


# A rolling restart --------------------------------------------------------------------------------


class Balancer:
    """Forwards each TCP connection to the first server that is ready."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _pass(self, reader, writer) -> None:
        for port in self._ports:
            if await asyncio.to_thread(state_of, port) == "ready":
                there, back = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
                return
        writer.close()


async def _copy(reader, writer) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.mark.parametrize(
    "drain_timeout_s",
    [pytest.param("30", id="long", marks=pytest.mark.slow), pytest.param("0.5", id="short")],
)
async def test_a_rolling_restart_loses_no_sentence(drain_timeout_s):
    """With a long drain timeout the task ends there; with a short one the client resumes it."""
    old, new = free_port(), free_port()
    audio = (LOUD + QUIET) * 4
    settings = {"ASR_DRAIN_TIMEOUT_S": drain_timeout_s}
    with (
        launched(*MAIN, port=old, **settings) as retiring,
        launched(*MAIN, port=new, **settings) as replacement,
    ):
        async with Balancer(old, new) as port:
            url = at(port).url
            asked = Parameters(max_sentence_silence=300)
            async with AsrClient(url, parameters=asked, retry=Retry(attempts=5)) as asr:
                sentences = []
                async for sentence in asr.transcribe(audio, pace=4):
                    sentences.append(sentence)
                    if len(sentences) == 2:
                        retiring.terminate()
                # The client resends from the last sentence's end: some ms are recognised twice.
                whole = [s.text for s in sentences if s.end_ms - s.begin_ms > 100]
                assert whole == ["天地玄。"] * 4
                again = [sentence.text async for sentence in asr.transcribe(LOUD + QUIET)]
                assert again == ["天地玄。"]
            assert retiring.ended() == 0
        assert replacement.stop() == 0
    finished = [r for r in replacement.records if r["message"] == "task finished"]
    assert len(finished) == (1 if drain_timeout_s == "30" else 2)


# One connection -----------------------------------------------------------------------------------


@pytest.fixture
async def connection():
    engine = Engine(FakeBackend, Settings())
    await engine.start()
    server = ServerContext(engine, Settings(), vocabularies(), ConcurrencyLimit(0))
    socket = Socket()
    socket.readable.set()
    connection = Connection(socket, ANONYMOUS, server)
    running = asyncio.create_task(connection.run())
    await asyncio.sleep(0)
    yield connection, socket, running
    await running
    await engine.stop()


async def test_a_run_task_in_the_moment_of_the_drain_fails_so_that_the_client_retries(connection):
    connection, socket, running = connection
    await asyncio.sleep(0.01)  # for the connection to await a message
    socket.send(run_task("late"))
    connection.drain()
    async with within(2):
        await running
    (failed,) = socket.sent
    assert (failed["header"]["task_id"], failed["header"]["error_code"]) == (
        "late",
        "ServiceUnavailable",
    )
    assert socket.closed == (1000, "ServiceUnavailable")


async def test_a_draining_connection_ends_with_its_open_task(connection):
    connection, socket, running = connection
    socket.send(run_task("running"), LOUD)
    await socket.sent_event("task-started")
    connection.drain()
    socket.send(LOUD, finish_task("running"))
    async with within(5):
        await running
    assert [event["header"]["event"] for event in socket.sent][-1] == "task-finished"
    assert socket.closed == (1001, "going away")


async def test_a_task_fails_after_the_drain_timeout_even_while_its_stream_is_opened(
    connection, monkeypatch
):
    connection, socket, running = connection
    opening, may_open = asyncio.Event(), asyncio.Event()

    async def prepare(self, hotwords):
        opening.set()
        await may_open.wait()

    monkeypatch.setattr(Engine, "prepare", prepare)
    socket.send(run_task("opening"))
    async with within(2):
        await opening.wait()
    connection.drain()
    connection.fail_open_task()
    may_open.set()
    async with within(2):
        await running
    (failed,) = socket.sent
    assert failed["header"]["error_code"] == "ServiceUnavailable"
    assert socket.closed == (1000, "ServiceUnavailable")
