"""Compressed audio is recognised like the same audio uncompressed."""

import asyncio

import numpy as np
import pytest

from tests.support.encoding import FORMATS, encodable, encode
from tests.support.serving import (
    LOUD,
    QUIET,
    connected,
    error,
    finish_task,
    names,
    run_task,
    serving,
    texts,
)

PCM = np.frombuffer(QUIET + LOUD + LOUD + QUIET + QUIET + LOUD + QUIET, "<i2")


@pytest.fixture
async def client():
    async with serving() as served, connected(served) as client:
        yield client


@pytest.mark.parametrize("format", encodable(*FORMATS))
async def test_every_format_is_recognised(client, format):
    await client.say(run_task(format="wav" if format == "alaw" else format))
    await client.stream(encode(PCM, format), frame=1000)
    await client.say(finish_task())
    events = await client.until("task-finished")
    assert names(events)[-1] == "task-finished"
    assert len(texts(events)) == 2


async def test_a_whole_file_in_one_frame_is_recognised(client):
    await client.say(run_task(format="mp3"), encode(PCM, "mp3"), finish_task())
    assert len(texts(await client.until("task-finished"))) == 2


@pytest.mark.parametrize(
    "messages",
    [[bytes(range(256)) * 1000], [b"garbage" * 10, finish_task()]],
    ids=["much", "little"],
)
async def test_garbage_fails_the_task(client, messages):
    await client.say(run_task(format="opus"), *messages)
    code, message = error(await client.until("task-failed"))
    assert code == "InvalidParameter"
    assert message.startswith("Failed to decode audio: ")
    assert await client.closed() == 1000


@pytest.mark.parametrize("audio", [b"", b"OggS"])
async def test_nothing_to_decode_is_no_valid_audio(client, audio):
    await client.say(run_task(format="opus"), audio, finish_task())
    assert error(await client.until("task-failed"))[0] == "NO_VALID_AUDIO_ERROR"


async def test_a_disconnect_in_the_middle_of_a_file_closes_the_stream():
    async with serving() as served:
        async with connected(served) as client:
            await client.say(run_task(format="flac"), encode(PCM, "flac")[:5000])
            await client.event()
        async with connected(served) as client:
            await client.say(run_task(), LOUD, finish_task())
            await client.until("task-finished")
        for _ in range(500):  # until what came before the disconnect is decoded
            if not served.engine.open_streams:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the stream is still open")
