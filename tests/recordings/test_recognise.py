"""A recording through the protocol: in this process, over a socket, and with errors."""

import asyncio
import re
import wave
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import websockets

from asr_client.errors import AsrError, ServerAway, ServerBusy, TaskFailed, Unauthorized
from asr_client.types import Sentence
from asr_server.app import create_app
from asr_server.recordings import recognise as recognise_module
from asr_server.recordings.files import OpenRecording, RecordingError, open_recording
from asr_server.recordings.inprocess import bulk_settings, in_process
from asr_server.recordings.recognise import Request, ends_run, recognise
from asr_server.settings import Settings
from tests.support.encoding import encode
from tests.support.fake_backend import FakeBackend
from tests.support.serving import LOUD, QUIET, serving

AS_SPOKEN = {"punctuation_prediction_enabled": False}


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
async def here() -> AsyncIterator[Request]:
    """A server in this process."""
    settings = Settings(model="fake", api_keys="a-secret-of-16-letters", max_tasks_per_key=1)
    app = create_app(bulk_settings(settings, 4), load=FakeBackend)
    async with in_process(app) as connect:
        yield Request(AS_SPOKEN, connect=connect)


def at(url: str, **options: str) -> Request:
    """A server over a socket."""
    return Request(AS_SPOKEN, url=url, **options)


async def sentences_of(path: Path, request: Request) -> list[Sentence]:
    return [sentence async for sentence in recognise(open_recording(path), request)]


async def test_a_server_in_process_gives_the_same_sentences_as_over_a_socket(speech, here):
    async with serving() as served:
        over_a_socket = await sentences_of(speech, at(served.url))
    in_this_process = await sentences_of(speech, here)
    assert in_this_process == over_a_socket
    assert len(in_this_process) == 2
    assert in_this_process[1].begin_ms == pytest.approx(3000, abs=100)


async def test_recordings_beyond_the_servers_capacity_wait(speech):
    async with serving(max_tasks=1) as served:
        results = await asyncio.gather(*(sentences_of(speech, at(served.url)) for _ in range(3)))
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 2


async def test_progress_is_the_share_of_the_recording_that_was_sent(speech, here):
    shares = []
    async for _ in recognise(open_recording(speech), here, shares.append):
        pass
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


async def test_an_hour_is_never_held_in_memory(here):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield LOUD

    sentences = recognise(OpenRecording(endless, "pcm", 16_000), here)
    first = await anext(sentences)
    read_until_first = read
    await sentences.aclose()
    assert first.end_ms <= 60_000  # the longest a sentence may be
    # Seconds: in the sentence, ahead of the recogniser, unsent in the client, in between.
    assert read_until_first < 60 + 30 + 60 + 15
    assert "asr source" not in {task.get_name() for task in asyncio.all_tasks()}
    assert read < read_until_first + 5


@pytest.mark.parametrize("format", ["mp3", "flac", "m4a"])
async def test_compressed_files_are_recognised(tmp_path, here, format):
    samples = np.frombuffer(LOUD + QUIET + QUIET + LOUD, "<i2")
    path = tmp_path / f"a.{format}"
    path.write_bytes(encode(samples, format))
    assert len(await sentences_of(path, here)) == 2


async def test_raw_samples_need_their_rate(tmp_path, here):
    path = tmp_path / "a.pcm"
    path.write_bytes(LOUD[::2] + QUIET)
    opened = open_recording(path, sample_rate=8000)
    assert opened.duration_s == pytest.approx(3.0)
    assert [s async for s in recognise(opened, here)]


async def test_a_refused_task_raises_the_servers_reason(speech, here):
    wrong = replace(here, parameters={"vocabulary": "no object"})
    with pytest.raises(TaskFailed, match="InvalidParameter: .*vocabulary") as caught:
        await sentences_of(speech, wrong)
    assert not ends_run(caught.value)


async def test_an_unknown_model_ends_the_run(speech, here):
    with pytest.raises(TaskFailed, match="ModelNotFound") as caught:
        await sentences_of(speech, replace(here, model="whisper"))
    assert ends_run(caught.value)


async def test_a_file_without_samples_is_an_error_and_not_silence(tmp_path, here):
    with pytest.raises(RecordingError, match="there is no sound in it"):
        await sentences_of(recording(tmp_path / "empty.wav"), here)


@pytest.mark.parametrize("format", ["wav", "pcm", "mp3"])
async def test_stdin_without_a_byte_is_an_error_and_not_silence(format, here):
    with pytest.raises(RecordingError, match="there is no sound in it"):
        [s async for s in recognise(OpenRecording(lambda: iter(()), format, 16_000), here)]


async def test_a_recording_that_breaks_off_raises_and_frees_its_slot(speech, here):
    def torn():
        yield LOUD
        raise RecordingError("the disk is gone")

    for _ in range(5):  # one more than there are slots
        with pytest.raises(RecordingError, match="the disk is gone"):
            [s async for s in recognise(OpenRecording(torn, "pcm", 16_000), here)]
    assert len(await sentences_of(speech, here)) == 2


async def test_an_unreachable_server_ends_the_run(speech):
    with pytest.raises(ServerAway, match=r"cannot reach ws://127\.0\.0\.1:9/") as caught:
        await sentences_of(speech, at("127.0.0.1:9"))
    assert ends_run(caught.value)


async def test_a_wrong_key_ends_the_run(speech):
    async with serving(api_keys="the-right-key-of-16") as served:
        with pytest.raises(Unauthorized, match="refused the API key") as caught:
            await sentences_of(speech, at(served.url, api_key="wrong"))
        assert ends_run(caught.value)
        assert await sentences_of(speech, at(served.url, api_key="the-right-key-of-16"))


async def test_a_server_that_stays_busy_is_given_up(speech, monkeypatch):
    monkeypatch.setattr(recognise_module, "BUSY_PAUSES_S", (0.01, 0.01))
    attempts = 0

    async def busy():
        nonlocal attempts
        attempts += 1
        raise ServerBusy("the server is busy")

    with pytest.raises(ServerBusy):
        await sentences_of(speech, Request(connect=busy))
    assert attempts == 3


async def test_a_lost_connection_fails_one_recording_and_not_the_run(speech):
    async def close(socket):
        await socket.recv()

    async with websockets.serve(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(AsrError, match="the connection was lost") as caught:
            await sentences_of(speech, at(f"127.0.0.1:{port}"))
    assert not ends_run(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.wav", None, "there is no such file"),
        ("notes.wav", b"not a sound at all", "cannot be read as sound"),
        ("notes.mp4", b"", "cannot be read as sound"),
        (".", None, "it is a folder; name the files in it"),
        ("n" * 300, None, "it cannot be opened (File name too long)"),
    ],
)
def test_an_unreadable_recording_is_an_error_at_once(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordingError, match=re.escape(reason)):
        open_recording(tmp_path / name)
