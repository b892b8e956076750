"""A recording through the protocol: in this process and over a socket, and what may go wrong."""

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import websockets

from asr_server.protocol.events import Sentence
from asr_server.recordings import client
from asr_server.recordings.client import (
    Connect,
    RecognitionError,
    Request,
    Unreachable,
    endpoint,
    recognise,
    remote,
)
from asr_server.recordings.files import Piece, RecordingError, open_recording
from asr_server.recordings.inprocess import for_recordings, in_process
from asr_server.settings import Settings
from tests.support.encoding import encode
from tests.support.serving import LOUD, QUIET, serving

AS_SPOKEN = Request({"punctuation_prediction_enabled": False})


def recording(path: Path, *seconds: bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"".join(seconds))
    return path


@pytest.fixture
def speech(tmp_path):
    """Two sentences."""
    return recording(tmp_path / "a.wav", LOUD, QUIET, QUIET, LOUD, LOUD, QUIET)


@pytest.fixture
async def here() -> AsyncIterator[Connect]:
    settings = Settings(model="fake", api_keys="secret", max_tasks_per_key=1)
    async with in_process(for_recordings(settings, 4)) as connect:
        yield connect


async def heard(connect: Connect, path: Path, request: Request = AS_SPOKEN) -> list[Sentence]:
    return [sentence async for sentence in recognise(connect, open_recording(path), request)]


async def test_without_a_socket_it_is_heard_as_with_one(speech, here):
    async with serving() as served:
        over_a_socket = await heard(remote(served.url), speech)
    without = await heard(here, speech)
    assert without == over_a_socket
    assert len(without) == 2
    assert without[1].begin_time == pytest.approx(3000, abs=100)


async def test_recordings_beyond_the_places_wait_for_one(speech):
    async with serving(max_tasks=1) as served:
        connect = remote(served.url)
        results = await asyncio.gather(*(heard(connect, speech) for _ in range(3)))
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 2


async def test_an_hour_is_never_held_in_memory(here):
    read = 0

    class Endless:
        format, sample_rate, duration_s = "pcm", 16_000, None

        def pieces(self):
            nonlocal read
            while True:
                read += 1
                yield Piece(LOUD, 0.0)

    sentences = recognise(here, Endless(), AS_SPOKEN)
    first = await anext(sentences)
    read_until_first = read
    await sentences.aclose()
    assert first.end_time <= 60_000  # the longest a sentence may be
    assert read_until_first < 60 + 30 + 15  # seconds: said, ahead of the recogniser, on the way
    await asyncio.sleep(0.2)
    assert read < read_until_first + 5


@pytest.mark.parametrize("format", ["mp3", "flac", "m4a"])
async def test_compressed_files_are_heard(tmp_path, here, format):
    samples = np.frombuffer(LOUD + QUIET + QUIET + LOUD, "<i2")
    path = tmp_path / f"a.{format}"
    path.write_bytes(encode(samples, format))
    assert len(await heard(here, path)) == 2


async def test_raw_samples_need_their_rate(tmp_path, here):
    path = tmp_path / "a.pcm"
    path.write_bytes(LOUD[::2] + QUIET)
    found = open_recording(path, sample_rate=8000)
    assert found.duration_s == pytest.approx(3.0)
    assert [s async for s in recognise(here, found, AS_SPOKEN)]


async def test_what_the_server_refuses_is_said(speech, here):
    with pytest.raises(RecognitionError, match="InvalidParameter: .*vocabulary"):
        await heard(here, speech, Request({"vocabulary": "no object"}))
    with pytest.raises(Unreachable, match="knows no such model"):
        await heard(here, speech, Request(model="whisper"))


async def test_a_file_without_samples_is_no_silence(tmp_path, here):
    with pytest.raises(RecognitionError, match="NO_VALID_AUDIO"):
        await heard(here, recording(tmp_path / "empty.wav"))


async def test_a_recording_that_breaks_off_raises_and_frees_its_place(speech, here):
    class Torn:
        format, sample_rate, duration_s = "pcm", 16_000, None

        def pieces(self):
            yield Piece(LOUD, 0.5)
            raise RecordingError("the disk is gone")

    for _ in range(5):  # one more than there are places
        with pytest.raises(RecordingError, match="the disk is gone"):
            [s async for s in recognise(here, Torn(), AS_SPOKEN)]
    assert len(await heard(here, speech)) == 2


async def test_nobody_at_the_address_and_a_wrong_key(speech):
    with pytest.raises(Unreachable, match=r"no server answers at ws://127\.0\.0\.1:9/"):
        await heard(remote("127.0.0.1:9"), speech)
    async with serving(api_keys="right") as served:
        with pytest.raises(Unreachable, match="refuses the API key"):
            await heard(remote(served.url, "wrong"), speech)
        assert await heard(remote(served.url, "right"), speech)


async def test_a_server_that_stays_full_is_given_up(speech, monkeypatch):
    monkeypatch.setattr(client, "BUSY_PAUSES_S", (0.01, 0.01))

    @asynccontextmanager
    async def full():
        raise client.ServerBusy("the server is full")
        yield

    with pytest.raises(client.ServerBusy):
        await heard(full, speech)


async def test_a_server_that_hangs_up_is_said_so(speech):
    async def hang_up(socket):
        await socket.recv()

    async with websockets.serve(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RecognitionError, match="the server closed the connection"):
            await heard(remote(f"127.0.0.1:{port}"), speech)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("asr.example.com:8000", "ws://asr.example.com:8000/api-ws/v1/inference"),
        ("https://asr.example.com/", "wss://asr.example.com/api-ws/v1/inference"),
        ("wss://a.com/prefix/api-ws/v1/inference", "wss://a.com/prefix/api-ws/v1/inference"),
    ],
)
def test_an_address_may_be_short(given, used):
    assert endpoint(given) == used


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.wav", None, "there is no such file"),
        ("notes.wav", b"not a sound at all", "cannot be read as sound"),
        ("notes.mp4", b"", "cannot be read as sound"),
    ],
)
def test_what_is_no_recording_is_said_before_anything_is_sent(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordingError, match=reason):
        open_recording(tmp_path / name)
