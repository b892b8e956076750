"""Clients that disconnect, flood or send garbage: answered soon, without effect on others."""

import asyncio
import contextlib
import gc
import random
import struct

import pytest
import websockets

from tests.support.serving import (
    FRAME,
    LOUD,
    QUIET,
    connected,
    error,
    finish_task,
    names,
    run_task,
    serving,
    texts,
    within,
)

SPEECH = LOUD + QUIET + LOUD
SOON_S = 3
"""A server answers in milliseconds, if the machine that tests it does nothing else."""


@pytest.fixture
async def served(caplog):
    """Yield a server; check afterwards that no stream or task is left and no error is logged."""
    async with serving() as server:
        before = len(asyncio.all_tasks())
        yield server
        engine = server.engine
        await eventually(lambda: engine.open_streams == 0)
        await eventually(lambda: len(asyncio.all_tasks()) <= before)
    gc.collect()
    assert [r.getMessage() for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


@pytest.fixture
async def neighbour(served):
    """Yield while another client streams; check afterwards that it got every sentence."""
    async with connected(served) as client:
        await client.say(run_task("neighbour"))
        await client.event()
        speaking = asyncio.create_task(client.stream(SPEECH), name="neighbour")
        yield client
        await speaking
        await client.say(finish_task("neighbour"))
        assert len(texts(await client.until("task-finished"))) == 2


async def eventually(true) -> None:
    async with within(3):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def still_serves(served) -> None:
    async with within(SOON_S), connected(served) as client:
        await client.say(run_task(), LOUD, finish_task())
        assert len(texts(await client.until("task-finished"))) == 1


async def start(client) -> None:
    await client.say(run_task())
    assert names([await client.event()]) == ["task-started"]


# Disconnects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before a task", "after run-task", "mid-sentence", "mid-finish"])
@pytest.mark.parametrize("cleanly", [True, False])
async def test_a_client_may_disconnect_at_any_time(served, neighbour, when, cleanly):
    client = await websockets.connect(served.url, compression=None, proxy=None)
    if when != "before a task":
        await client.send(run_task())
    if when in ("mid-sentence", "mid-finish"):
        for _ in range(5):
            await client.send(LOUD[:FRAME])
    if when == "mid-finish":
        await client.send(finish_task())
    if cleanly:
        await client.close()
    else:
        client.transport.abort()
    await still_serves(served)


async def test_many_disconnects_at_once_leave_nothing_open(served, neighbour):
    async def connect_and_abort(seed: int) -> None:
        client = await websockets.connect(served.url, compression=None, proxy=None)
        await client.send(run_task(str(seed)))
        await client.send(LOUD[: random.Random(seed).randrange(2, 20_000)])
        client.transport.abort()

    await asyncio.gather(*(connect_and_abort(seed) for seed in range(30)))
    await still_serves(served)


# Clients that do not read -------------------------------------------------------------------------


async def test_a_client_that_reads_nothing_until_it_has_sent_everything_gets_every_final(served):
    sentences = 40
    async with connected(served, max_queue=1) as client:
        await client.say(run_task())
        await client.stream((LOUD + QUIET) * sentences, frame=64_000)
        await client.say(finish_task())
        events = await client.until("task-finished")
    assert len(texts(events)) == sentences


# Garbage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    ["", "{", "null", "\0" * 100, "{}" * 50_000, '{"header":' * 20_000, "晚上好", '"\\ud800"'],
    ids=["empty", "cut", "null", "zeros", "long", "deep", "words", "surrogate"],
)
async def test_garbage_in_a_text_frame_is_answered_soon(served, neighbour, garbage):
    async with connected(served) as client:
        await start(client)
        async with within(SOON_S):
            await client.say(garbage)
            code, message = error(await client.until())
            assert code == "InvalidParameter"
            assert message.startswith("Invalid payload data: a text frame has a JSON object")
            assert await client.closed() == 1007


async def test_a_text_frame_that_is_not_utf8_is_closed_with_1007(served):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        b"GET /api-ws/v1/inference HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade"
        b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x81\x82" + b"\0\0\0\0" + b"\xff\xfe")
    async with within(SOON_S):
        frames = await reader.read()
    assert b'"error_message":"Invalid payload data: the text frame is not UTF-8."' in frames
    assert struct.pack(">BBH", 0x88, 18, 1007) + b"InvalidParameter" in frames
    writer.close()


async def test_a_20_mb_frame_is_refused_with_1009_soon(served, neighbour):
    async with connected(served, max_size=None) as client:
        await start(client)
        async with within(SOON_S):
            with contextlib.suppress(websockets.ConnectionClosed):
                await client.say(b"\0" * 20_000_000)
            assert await client.closed() == 1009


async def test_a_1_mb_frame_and_1_byte_frames_are_audio_as_any_other(served, neighbour):
    audio = (LOUD + QUIET) * 16
    async with connected(served) as client:
        await start(client)
        await client.say(audio[: 1 << 20])
        await client.stream(LOUD[:500], frame=1)
        await client.say(b"", finish_task())
        assert names(await client.until("task-finished"))[-1] == "task-finished"


async def test_an_odd_number_of_bytes_is_no_error(served, neighbour):
    async with connected(served) as client:
        await start(client)
        await client.stream(LOUD + b"\0", frame=1601)
        await client.say(finish_task())
        assert len(texts(await client.until("task-finished"))) == 1


@pytest.mark.parametrize("audio", [b"", b"\0"], ids=["no audio", "half a sample"])
async def test_an_empty_task_is_answered_soon(served, neighbour, audio):
    async with connected(served) as client:
        await start(client)
        async with within(SOON_S):
            await client.say(audio, finish_task())
            assert error(await client.until())[0] == "NO_VALID_AUDIO_ERROR"
            assert await client.closed() == 1000


async def test_silence_alone_is_answered_soon(served, neighbour):
    async with connected(served) as client:
        await start(client)
        async with within(SOON_S):
            await client.say(QUIET * 10, finish_task())
            assert names(await client.until("task-finished")) == ["task-finished"]


async def test_random_frames_break_nothing(served, neighbour):
    dice = random.Random(5)
    pieces = [
        lambda: run_task(str(dice.random())),
        lambda: finish_task(),
        lambda: '{"header":{"action":"continue-task","task_id":"task"},"payload":{"input":{}}}',
        lambda: dice.randbytes(dice.randrange(10_000)),
        lambda: LOUD[: dice.randrange(20_000)],
        lambda: dice.randbytes(50).decode("latin-1"),
        lambda: run_task()[: dice.randrange(150)],
        lambda: b"RIFF" + dice.randbytes(100),
        lambda: run_task(format=dice.choice(["wav", "pcm", "mp3", None])),
        lambda: run_task(sample_rate=dice.choice([8000, 0, "x"])),
    ]
    for _ in range(60):
        async with connected(served) as client:
            try:
                for _ in range(dice.randrange(12)):
                    await client.say(dice.choice(pieces)())
            except websockets.ConnectionClosed:
                pass
    await still_serves(served)
