"""AsrClient.py over a socket: all kinds of source, and reconnections that lose nothing."""

import asyncio
import json
import struct
import subprocess
import sys
import types
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

import AsrClient as client_module
import pytest
from AsrClient import (
    AsrClient,
    AsrError,
    Failed,
    Final,
    Finished,
    Interim,
    Level,
    Microphone,
    MicrophoneUnavailable,
    Parameters,
    Reconnecting,
    Retry,
    Sentence,
    ServerAway,
    ServerBusy,
    Started,
    Stream,
    StreamClosed,
    SyncAsrClient,
    TaskFailed,
    Unauthorized,
    Word,
    captions,
    to_json,
    to_srt,
    to_txt,
    to_vtt,
    transcribe,
    websocket_url,
)

from tests.clients.scripted_server import BLOCK, ScriptedServer, Task, pcm_of, text_of

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "protocol" / "golden"
FAST = Retry(first_delay_s=0.01, max_delay_s=0.02)
PAUSE = " " * 8  # ends a sentence


def wav(pcm: bytes, channels: int = 1, rate: int = 16000, bits: int = 16) -> bytes:
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * frame, frame, bits)
    junk = b"note" + struct.pack("<I", 3) + b"abc\0"  # an odd chunk, padded
    body = b"WAVE" + junk + b"fmt " + struct.pack("<I", 16) + fmt
    body += b"data" + struct.pack("<I", len(pcm)) + pcm
    return b"RIFF" + struct.pack("<I", len(body)) + body


async def texts_of(client: AsrClient, source: object, **options: object) -> list[str]:
    return [sentence.text async for sentence in client.transcribe(source, **options)]


async def events_of(stream: Stream) -> list[object]:
    return [event async for event in stream]


def audio_of(server: ScriptedServer) -> bytes:
    return bytes(server.tasks[-1].audio)


# sources


async def test_a_wav_file_becomes_sentences_with_times(server, tmp_path):
    text = text_of("abc")
    path = tmp_path / "a.wav"
    path.write_bytes(wav(pcm_of("  " + text + PAUSE + text)))
    async with AsrClient(server.url) as asr:
        sentences = [sentence async for sentence in asr.transcribe(path)]
    assert [s.text for s in sentences] == [f"{text}。"] * 2
    assert [(s.index, s.begin_ms, s.end_ms) for s in sentences] == [(0, 200, 500), (1, 1300, 1600)]
    assert sentences[0].words[-1] == Word(400, 500, text[2], "。")
    assert server.tasks[0].parameters["format"] == "pcm"


async def test_stereo_is_mixed_down(server):
    mono = pcm_of(text_of("xy"))
    stereo = b"".join(mono[i : i + 2] * 2 for i in range(0, len(mono), 2))
    async with AsrClient(server.url) as asr:
        assert await texts_of(asr, wav(stereo, channels=2)) == [f"{text_of('xy')}。"]


async def test_raw_bytes_are_pcm_of_the_given_rate(server):
    async with AsrClient(server.url, parameters=Parameters(sample_rate=8000)) as asr:
        await texts_of(asr, b"\1\0" * 8000)
    assert server.tasks[0].parameters["sample_rate"] == 8000
    assert audio_of(server) == b"\1\0" * 8000


async def test_a_blocking_generator_does_not_hold_up_results(server):
    async def listen(stream):
        async for event in stream:
            if isinstance(event, Interim):
                release.set()

    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def generator():
        yield pcm_of(text_of("a"))
        # Blocks its thread until the first interim has reached the consumer.
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(release.wait(), 5), loop).result()
        yield pcm_of(text_of("b"))

    async with AsrClient(server.url) as asr:
        await listen(asr.open(generator()))
    assert release.is_set()


async def test_an_asynchronous_generator_of_uneven_blocks(server):
    pcm = pcm_of(text_of("hello") + PAUSE)

    async def source():
        for at in range(0, len(pcm), 777):
            yield pcm[at : at + 777]

    async with AsrClient(server.url) as asr:
        assert await texts_of(asr, source()) == [f"{text_of('hello')}。"]
    assert audio_of(server) == pcm


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.bin", b"ID3\x04", "mp3"),
        ("a.ogg", b"OggS", "opus"),
        ("a.spx", b"OggS", "speex"),
        ("a.amr", b"#!AMR\n", "amr"),
        ("a.flac", b"fLaC", "flac"),
        ("a.m4a", b"\0\0\0\x20ftypM4A ", "m4a"),
        ("a.aac", b"\xff\xf1", "aac"),
        ("a.webm", b"\x1a\x45\xdf\xa3", "webm"),
        ("a.pcm", b"\xff\xf1", "pcm"),
        ("24bit.wav", wav(b"\0" * 30, bits=24), "wav"),
    ],
)
async def test_other_files_go_as_they_are(server, tmp_path, name, head, expected):
    path = tmp_path / name
    path.write_bytes(head + bytes(9000))
    async with AsrClient(server.url) as asr:
        await texts_of(asr, path)
    assert server.tasks[0].parameters["format"] == expected
    assert audio_of(server) == path.read_bytes()


async def test_a_wav_of_unknown_length_is_read_to_its_end(server):
    pcm = pcm_of(text_of("ab"))
    endless = bytearray(wav(pcm))
    at = endless.index(b"data") + 4
    endless[at : at + 4] = b"\xff\xff\xff\xff"
    async with AsrClient(server.url) as asr:
        await texts_of(asr, bytes(endless))
    assert audio_of(server) == pcm


class FakeInputStream:
    """Plays a recording into the callback, as PortAudio would."""

    pcm = b""

    def __init__(self, *, callback, blocksize, **options):
        self._blocks = [self.pcm[i : i + 2 * blocksize] for i in range(0, len(self.pcm), 3200)]
        self._callback = callback
        self.closed = False

    def __enter__(self):
        for block in self._blocks:
            self._callback(block, len(block) // 2, None, None)

    def __exit__(self, *exc_info):
        FakeInputStream.closed = True


async def test_the_microphone_is_recognised_and_closed(server, monkeypatch):
    fake = types.SimpleNamespace(RawInputStream=FakeInputStream)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    FakeInputStream.pcm = pcm_of(text_of("hey") + PAUSE)
    microphone = Microphone()
    events = []
    async with AsrClient(server.url) as asr:
        async for event in asr.open(microphone):
            events.append(event)
            if isinstance(event, Final):
                microphone.stop()
    assert [e.sentence.text for e in events if isinstance(e, Final)] == [f"{text_of('hey')}。"]
    assert any(isinstance(e, Level) for e in events)
    assert FakeInputStream.closed


async def test_a_microphone_without_sounddevice_says_what_to_install(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    async with AsrClient(server.url) as asr:
        with pytest.raises(MicrophoneUnavailable, match="pip install sounddevice"):
            await texts_of(asr, Microphone())


async def test_a_missing_file_is_an_ordinary_error(server):
    async with AsrClient(server.url) as asr:
        with pytest.raises(FileNotFoundError):
            await texts_of(asr, "no-such.wav")


async def test_an_error_in_the_source_reaches_the_reader(server):
    def source():
        yield pcm_of(text_of("a"))
        raise RuntimeError("the tape broke")

    async with AsrClient(server.url) as asr:
        with pytest.raises(RuntimeError, match="the tape broke"):
            await texts_of(asr, source())


async def test_a_source_error_at_the_moment_of_the_servers_answer_reaches_the_reader_too(server):
    answered = asyncio.Event()

    async def source():
        await answered.wait()
        raise RuntimeError("the tape broke")
        yield b""

    def look(direction, message):
        if direction == "in":
            answered.set()

    async with AsrClient(server.url, on_wire=look) as asr:
        with pytest.raises(RuntimeError, match="the tape broke"):
            await texts_of(asr, source())


# events and the stream


async def test_the_events_of_a_stream_in_order(server):
    async with AsrClient(server.url) as asr:
        stream = asr.stream(levels=True)
        await stream.push(pcm_of(text_of("a")))
        async for event in stream:
            if isinstance(event, Interim):
                break
        await stream.push(pcm_of(PAUSE))
        stream.end_input()
        events = await events_of(stream)
    kinds = [type(event) for event in events if not isinstance(event, Level)]
    assert kinds == [Final, Finished]
    assert events[-1] == Finished(duration_ms=900)


async def test_frames_are_100_ms_and_the_last_is_what_is_left(server):
    sizes = []
    seen = 0

    def note(task: Task) -> None:
        nonlocal seen
        sizes.append(len(task.audio) - seen)
        seen = len(task.audio)

    server.on_audio = note
    async with AsrClient(server.url) as asr:
        await texts_of(asr, bytes(BLOCK * 3 + 10))
    assert sizes == [BLOCK] * 3 + [10]


async def test_pacing_follows_the_clock(server):
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with AsrClient(server.url) as asr:
        await texts_of(asr, bytes(BLOCK * 10), pace=4)
    assert 0.24 <= loop.time() - start < 5.0


async def test_pacing_a_compressed_file_is_refused(server):
    async with AsrClient(server.url) as asr:
        with pytest.raises(ValueError, match="pacing needs PCM"):
            await texts_of(asr, b"ID3" + bytes(100), pace=1)


async def test_an_unread_interim_is_replaced_by_the_newer_one(server):
    async with AsrClient(server.url) as asr:
        stream = asr.open(pcm_of(text_of("abcdefgh") + PAUSE))
        await asyncio.wait_for(asyncio.wait(stream._tasks), 5)
        interims = [e for e in await events_of(stream) if isinstance(e, Interim)]
    assert len(interims) == 1
    assert interims[0].sentence.text == text_of("abcdefgh")


async def test_push_waits_when_the_server_falls_behind(server, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_UNSENT_S", 1)
    pushed = 0
    server.fail_run = [("Throttling.RateQuota", "busy")]
    retry = Retry(initial_attempts=3, first_delay_s=0.3)
    async with AsrClient(server.url, retry=retry) as asr:
        stream = asr.stream()

        async def push() -> None:
            nonlocal pushed
            for _ in range(20):
                pushed += 1
                await stream.push(bytes(BLOCK))
            stream.end_input()

        pushing = asyncio.create_task(push())
        await asyncio.sleep(0.05)
        assert not pushing.done()
        assert pushed == 11
        await events_of(stream)
        await pushing
    assert len(audio_of(server)) == 20 * BLOCK


async def test_pushing_after_the_end_is_refused(server):
    async with AsrClient(server.url) as asr:
        stream = asr.stream()
        stream.end_input()
        with pytest.raises(StreamClosed):
            await stream.push(b"\0\0")
        await events_of(stream)


async def test_flush_closes_a_sentence_and_the_stream_goes_on(server):
    async with AsrClient(server.url) as asr:
        stream = asr.stream()
        await stream.push(pcm_of(text_of("ab")))
        stream.flush()
        finals = []
        async for event in stream:
            if isinstance(event, Final):
                finals.append(event.sentence)
                if len(finals) == 1:
                    await stream.push(pcm_of(text_of("cd")))
                    stream.end_input()
    assert [(s.index, s.text, s.begin_ms, s.end_ms) for s in finals] == [
        (0, f"{text_of('ab')}。", 0, 200),
        (1, f"{text_of('cd')}。", 200, 400),
    ]
    assert server.connections == 1


async def next_of(stream: Stream, kind: type) -> object:
    async for event in stream:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the stream ended without {kind.__name__}")


@pytest.fixture
def strict(server: ScriptedServer) -> ScriptedServer:
    """Refuses a task without audio, as the real server does."""
    server.refuse_empty = True
    return server


async def test_push_to_talk_as_documented_keeps_its_sentences(strict):
    async with AsrClient(strict.url) as asr:
        stream = asr.stream()
        for text in ("ab", "cd"):
            await stream.push(pcm_of(text_of(text)))
            stream.flush()
            assert (await next_of(stream, Final)).sentence.text == f"{text_of(text)}。"
        while asr._connections._idle is None:  # noqa: ASYNC110 - until the task is finished
            await asyncio.sleep(0)
        stream.end_input()
        assert isinstance((await events_of(stream))[-1], Finished)
    assert len(strict.tasks) == 2


async def test_a_flush_without_new_audio_does_nothing(strict):
    async with AsrClient(strict.url) as asr:
        stream = asr.stream()
        stream.flush()
        await next_of(stream, Started)
        stream.flush()
        await stream.push(pcm_of(text_of("ab")))
        stream.flush()
        await next_of(stream, Final)
        stream.flush()
        await stream.push(pcm_of(text_of("cd") + PAUSE))
        await next_of(stream, Final)
        stream.end_input()
        assert await events_of(stream) == [Finished(duration_ms=1200)]
    assert len(strict.tasks) == 2


@pytest.mark.parametrize("waits", [False, True])
async def test_a_stream_that_never_got_audio_finishes_without_an_error(strict, waits):
    async with AsrClient(strict.url) as asr:
        stream = asr.stream()
        if waits:
            await next_of(stream, Started)
        stream.end_input()
        assert await events_of(stream) == [Finished(duration_ms=0)]
        assert await texts_of(asr, b"") == []
    assert len(strict.tasks) == waits


async def test_a_flush_survives_the_loss_of_the_connection(server):
    server.drop_after = [2 * BLOCK]
    async with AsrClient(server.url, retry=FAST) as asr:
        stream = asr.stream()
        await stream.push(pcm_of(text_of("ab")))
        stream.flush()
        assert (await next_of(stream, Final)).sentence.text == f"{text_of('ab')}。"


@pytest.mark.parametrize("ends", ["by itself", "on finish-task"])
async def test_audio_after_the_one_sentence_of_gummy_chat_is_recognised(server, ends):
    server.one_sentence = ends
    texts = [text_of("ab"), text_of("cd"), text_of("e")]
    async with AsrClient(server.url, model="gummy-chat-v1", retry=Retry(attempts=0)) as asr:
        stream = asr.open(pcm_of("".join(text + PAUSE for text in texts)))
        sentences = [s async for s in stream.sentences()]
    assert [s.text for s in sentences] == [f"{text}。" for text in texts]
    assert [(s.begin_ms, s.end_ms) for s in sentences] == [(0, 200), (1000, 1200), (2000, 2100)]


async def test_leaving_the_loop_cancels_everything(server):
    async def endless():
        while True:
            yield pcm_of(text_of("a") + PAUSE)
            await asyncio.sleep(0.01)

    async with AsrClient(server.url) as asr:
        async for _ in asr.transcribe(endless()):
            break
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not names & {"asr stream", "asr source", "asr sender"}


async def test_cancelling_the_reader_ends_the_stream(server):
    async def endless():
        while True:
            yield bytes(BLOCK)
            await asyncio.sleep(0.01)

    listening = asyncio.Event()
    server.on_audio = lambda task: listening.set()
    async with AsrClient(server.url) as asr:
        reading = asyncio.create_task(texts_of(asr, endless()))
        await listening.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not asr._streams


async def test_one_connection_serves_one_stream_after_the_other(server):
    async with AsrClient(server.url) as asr:
        for _ in range(3):
            assert await texts_of(asr, pcm_of(text_of("a"))) == [f"{text_of('a')}。"]
    assert server.connections == 1
    assert len({task.task_id for task in server.tasks}) == 3


async def test_two_streams_at_once_have_a_connection_each(server):
    async with AsrClient(server.url) as asr:
        a, b = pcm_of(text_of("a")), pcm_of(text_of("b"))
        assert await asyncio.gather(texts_of(asr, a), texts_of(asr, b)) == [
            [f"{text_of('a')}。"],
            [f"{text_of('b')}。"],
        ]
    assert server.connections == 2


async def test_a_connection_the_server_closed_meanwhile_is_replaced(server):
    async with AsrClient(server.url) as asr:
        await texts_of(asr, pcm_of(text_of("a")))
        await server.stop()
        await server.start()
        assert await texts_of(asr, pcm_of(text_of("b"))) == [f"{text_of('b')}。"]


# reconnection


@pytest.mark.parametrize("at_block", [1, 3, 5, 12, 14, 19])
async def test_nothing_is_lost_or_doubled_when_the_connection_is_cut(server, at_block):
    texts = [text_of("abcde"), text_of("fghij"), text_of("k")]
    pcm = pcm_of(PAUSE.join(texts))
    async with AsrClient(server.url) as asr:
        whole = [s async for s in asr.transcribe(pcm, pace=20)]
    server.drop_after = [at_block * BLOCK]
    async with AsrClient(server.url, retry=FAST) as asr:
        assert [s async for s in asr.transcribe(pcm, pace=20)] == whole
    assert not server.drop_after


async def test_a_restart_of_the_server_in_mid_sentence_loses_nothing(server):
    async def source():
        yield pcm_of(text_of("one") + PAUSE + text_of("tw"))
        await stopped.wait()
        yield pcm_of(text_of("o") + PAUSE)

    stopped = asyncio.Event()
    events = []
    async with AsrClient(server.url, retry=FAST) as asr:
        async for event in asr.open(source()):
            events.append(event)
            if isinstance(event, Interim) and event.sentence.text == text_of("tw"):
                if not stopped.is_set():
                    await server.stop()
                    stopped.set()
            elif isinstance(event, Reconnecting):
                await server.start() if server._server is None else None
    finals = [e.sentence for e in events if isinstance(e, Final)]
    assert [s.text for s in finals] == [f"{text_of('one')}。", f"{text_of('two')}。"]
    assert [(s.begin_ms, s.end_ms) for s in finals] == [(0, 300), (1100, 1400)]
    started = [e for e in events if isinstance(e, Started)]
    assert [e.resumed for e in started] == [0, 1]
    assert bytes(server.tasks[-1].audio).startswith(pcm_of(PAUSE + text_of("tw")))


async def test_a_compressed_file_begins_anew_and_repeats_no_sentence(server, monkeypatch):
    # The scripted server takes audio as PCM, whatever its format.
    monkeypatch.setattr(client_module, "ENCODED_FRAME", BLOCK)
    pcm = pcm_of(text_of("abc") + PAUSE + text_of("def"))
    server.drop_after = [12 * BLOCK]
    options = Parameters(format="mp3")

    async def slowly():
        for at in range(0, len(pcm), BLOCK):
            yield pcm[at : at + BLOCK]
            await asyncio.sleep(0.003)

    async with AsrClient(server.url, retry=FAST, parameters=options) as asr:
        assert await texts_of(asr, slowly()) == [f"{text_of('abc')}。", f"{text_of('def')}。"]
    assert len(server.tasks) == 2


async def test_a_silence_timeout_is_no_failure(server):
    server.fail_after = [(5 * BLOCK, "ResponseTimeout", "Response timeout!")] * 12
    pcm = pcm_of(" " * 100 + text_of("a"))
    async with AsrClient(server.url, retry=Retry(attempts=12, first_delay_s=0.01)) as asr:
        sentences = [s async for s in asr.transcribe(pcm, pace=10)]
    assert [(s.text, s.begin_ms) for s in sentences] == [(f"{text_of('a')}。", 10000)]


async def test_an_idle_timeout_in_mid_sentence_gives_the_final(server):
    async with AsrClient(server.url, retry=FAST) as asr:
        stream = asr.stream()
        await stream.push(pcm_of(text_of("ab")))
        async for event in stream:
            if isinstance(event, Interim) and len(event.sentence.text) == 2:
                break
        server.fail_after = [(0, "CLIENT_ERROR", "request timeout after 23 seconds.")]
        # The scripted server fails on the next audio, where the real one fails on a clock.
        await stream.push(bytes(BLOCK))
        async for event in stream:
            if isinstance(event, Final):
                break
        assert event.sentence.text == f"{text_of('ab')}。"
        stream.end_input()
        await events_of(stream)


async def test_an_unreachable_server_is_an_error_after_the_last_attempt(server):
    server.drop_after = [BLOCK]
    retry = Retry(attempts=2, first_delay_s=0.01)

    async def source():
        yield bytes(2 * BLOCK)
        await asyncio.sleep(3600)

    events = []

    async def read(stream):
        async for event in stream:
            events.append(event)
            if isinstance(event, Reconnecting):
                await server.stop()

    async with AsrClient(server.url, retry=retry) as asr:
        with pytest.raises(ServerAway):
            await read(asr.open(source()))
    assert [type(e) for e in events] == [Started, Reconnecting, Reconnecting, Failed]


# errors


async def test_an_unreachable_server_is_reported_at_once():
    async with AsrClient("ws://127.0.0.1:9") as asr:
        with pytest.raises(ServerAway, match="cannot reach ws://127.0.0.1:9"):
            await texts_of(asr, bytes(BLOCK))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (HTTPStatus.UNAUTHORIZED, Unauthorized),
        (HTTPStatus.FORBIDDEN, Unauthorized),
        (HTTPStatus.SERVICE_UNAVAILABLE, ServerBusy),
        (HTTPStatus.TOO_MANY_REQUESTS, ServerBusy),
        (HTTPStatus.NOT_FOUND, ServerAway),
    ],
)
async def test_a_refused_handshake_says_why(server, status, error):
    server.refuse_with = status
    async with AsrClient(server.url, api_key="secret") as asr:
        with pytest.raises(error) as caught:
            await texts_of(asr, bytes(BLOCK))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND])
async def test_a_wrong_path_is_told_from_a_refused_key(server, status):
    server.refuse_with = status
    async with AsrClient(f"{server.url}/recognise", api_key="secret") as asr:
        with pytest.raises(ServerAway, match="should end in /api-ws/v1/inference") as caught:
            await texts_of(asr, bytes(BLOCK))
    assert not caught.value.retryable


async def test_the_servers_reason_for_a_refusal_is_passed_on(server):
    server.refuse_with = HTTPStatus.FORBIDDEN
    server.refusal = '{"code": "AccessDenied", "message": "this origin is not allowed"}'
    async with AsrClient(server.url) as asr:
        with pytest.raises(Unauthorized, match="this origin is not allowed") as caught:
            await texts_of(asr, bytes(BLOCK))
    assert caught.value.code == "AccessDenied"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Throttling.RateQuota", ServerBusy),
        ("ModelNotFound", TaskFailed),
        ("InvalidParameter", TaskFailed),
        ("InvalidApiKey", Unauthorized),
    ],
)
async def test_a_refused_task_carries_the_servers_code(server, code, error):
    server.fail_run = [(code, "because")]
    async with AsrClient(server.url) as asr:
        with pytest.raises(error, match="because") as caught:
            await texts_of(asr, bytes(BLOCK))
    assert caught.value.code == code
    assert isinstance(caught.value, AsrError)


async def test_a_client_error_is_not_tried_again(server):
    server.fail_after = [(BLOCK, "InvalidParameter", "Failed to decode audio")]
    async with AsrClient(server.url, retry=FAST) as asr:
        with pytest.raises(TaskFailed, match="Failed to decode audio"):
            await texts_of(asr, bytes(2 * BLOCK))
    assert len(server.tasks) == 1


async def test_a_server_error_is_tried_again(server):
    server.fail_after = [(BLOCK, "InternalError", "oops")]
    async with AsrClient(server.url, retry=FAST) as asr:
        assert await texts_of(asr, pcm_of(text_of("abc"))) == [f"{text_of('abc')}。"]


# the request


async def test_the_request_is_what_the_protocol_asks_for(server):
    golden = json.loads((GOLDEN / "run-task.json").read_text("utf-8"))
    asked = Parameters(language_hints=("zh",), heartbeat=True)
    async with AsrClient(server.url, api_key="k", parameters=asked) as asr:
        await texts_of(asr, bytes(BLOCK))
    sent = dict(server.tasks[0].payload)
    sent["parameters"] = {k: v for k, v in sent["parameters"].items() if k != "heartbeat"}
    assert sent == golden["payload"]
    assert server.paths == ["/api-ws/v1/inference"]
    assert server.headers[0]["Authorization"] == "Bearer k"


async def test_parameters_reach_the_wire_under_their_own_names(server):
    asked = Parameters(
        max_sentence_silence=400,
        inverse_text_normalization_enabled=False,
        vocabulary={"达摩院": 5},
        extra={"speech_noise_threshold": -0.5},
    )
    async with AsrClient(server.url, parameters=asked) as asr:
        await texts_of(asr, bytes(BLOCK))
    assert server.tasks[0].parameters == {
        "sample_rate": 16000,
        "format": "pcm",
        "max_sentence_silence": 400,
        "inverse_text_normalization_enabled": False,
        "vocabulary": {"达摩院": 5},
        "heartbeat": True,
        "speech_noise_threshold": -0.5,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ws://h:1", "ws://h:1/api-ws/v1/inference"),
        ("h:1", "ws://h:1/api-ws/v1/inference"),
        ("http://h:1/", "ws://h:1/api-ws/v1/inference"),
        ("https://h/x/api-ws/v1/inference/", "wss://h/x/api-ws/v1/inference/"),
        ("https://h/asr/", "wss://h/asr/api-ws/v1/inference"),
        ("wss://h/p?api_key=k", "wss://h/p?api_key=k"),
    ],
)
def test_an_address_may_be_short(given, expected):
    assert websocket_url(given) == expected


# golden messages


def golden_sentence(name: str) -> Sentence | None:
    message = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    return client_module.parse_sentence(message["payload"]["output"], 3, 1000)


@pytest.mark.parametrize("model", ["", "gummy."])
def test_the_golden_results(model):
    interim = golden_sentence(f"{model}result-generated.interim")
    final = golden_sentence(f"{model}result-generated.final")
    assert interim is not None
    assert final is not None
    assert (interim.is_final, interim.end_ms, interim.text) == (False, None, "你好啊")
    assert (final.index, final.is_final, final.begin_ms, final.end_ms) == (3, True, 1640, 2640)
    assert "".join(w.text + w.punctuation for w in final.words) == final.text == "你好啊。"


def test_a_golden_heartbeat_is_no_sentence():
    assert golden_sentence("result-generated.heartbeat") is None


def test_golden_confidence():
    sentence = golden_sentence("result-generated.confidence")
    assert sentence is not None
    assert sentence.words[0].confidence == 0.98
    assert sentence.confidence == pytest.approx((0.98 + 0.97 + 0.914) / 3)


async def test_every_golden_event_over_the_wire(server, monkeypatch):
    events = [
        json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
        for name in (
            "task-started",
            "result-generated.heartbeat",
            "result-generated.begin",
            "result-generated.interim",
            "result-generated.final",
            "task-finished",
        )
    ]

    async def replay(connection):
        await connection.recv()
        await connection.send(json.dumps(events[0]))
        while "finish-task" not in str(await connection.recv()):
            pass
        for event in events[1:]:
            await connection.send(json.dumps(event, ensure_ascii=False))
        await connection.wait_closed()

    monkeypatch.setattr(server, "_serve", replay)
    await server.stop()
    await server.start()
    async with AsrClient(server.url) as asr:
        assert await texts_of(asr, bytes(BLOCK)) == ["你好啊。"]


async def test_the_golden_failure(server):
    header = json.loads((GOLDEN / "task-failed.json").read_text("utf-8"))["header"]
    error = client_module.task_error(header)
    assert isinstance(error, TaskFailed)
    assert error.is_idle_timeout
    assert error.retryable


# without asyncio, formats, the command line


async def test_the_synchronous_client(server):
    def work() -> list[list[str]]:
        with SyncAsrClient(server.url) as asr:
            first = [s.text for s in asr.transcribe(pcm_of(text_of("a")))]
        return [first, [s.text for s in transcribe(pcm_of(text_of("b")), server.url)]]

    assert await asyncio.to_thread(work) == [[f"{text_of('a')}。"], [f"{text_of('b')}。"]]


def sentence(text: str, begin: int = 0) -> Sentence:
    words = tuple(
        Word(begin + 100 * i, begin + 100 * i + 100, c) for i, c in enumerate(text) if c != "，"
    )
    return Sentence(0, begin, begin + 100 * len(text), text, words, is_final=True)


def test_subtitles():
    sentences = [sentence("今天天气不错", 3_661_001)]
    assert to_srt(sentences) == "1\n01:01:01,001 --> 01:01:01,601\n今天天气不错\n"
    assert to_vtt(sentences) == "WEBVTT\n\n01:01:01.001 --> 01:01:01.601\n今天天气不错\n"
    assert to_txt(sentences) == "今天天气不错\n"
    assert json.loads(to_json(sentences))[0]["words"][1]["text"] == "天"


def test_a_long_sentence_is_cut_between_words_after_a_mark():
    words = [Word(100 * i, 100 * i + 100, c) for i, c in enumerate("一二三四五六七八九十甲乙丙丁")]
    words[7] = Word(700, 800, "八", "，")
    text = "".join(w.text + w.punctuation for w in words)
    long = Sentence(0, 0, 1400, text, tuple(words), is_final=True)
    parts = list(captions([long], max_chars=12))
    assert [(c.begin_ms, c.end_ms, c.text) for c in parts] == [
        (0, 800, "一二三四五六七八，"),
        (800, 1400, "九十甲乙丙丁"),
    ]


async def run_cli(*arguments: str) -> tuple[int, str, str]:
    script = ROOT / "clients" / "python" / "AsrClient.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_command_line_prints_text_and_writes_subtitles(server, tmp_path):
    path, target = tmp_path / "a.wav", tmp_path / "a.srt"
    path.write_bytes(wav(pcm_of(text_of("abc") + PAUSE + text_of("d"))))
    status, out, _ = await run_cli(
        str(path), "--url", server.url, "--srt", str(target), "--times", "--hotword", "你好:5"
    )
    assert status == 0
    assert out.splitlines() == [
        f"[00:00:00.000 - 00:00:00.300]  {text_of('abc')}。",
        f"[00:00:01.100 - 00:00:01.200]  {text_of('d')}。",
    ]
    assert target.read_text("utf-8").startswith("1\n00:00:00,000 --> 00:00:00,300\n")
    assert server.tasks[0].parameters["vocabulary"] == {"你好": 5}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((__file__, "--url", "ws://127.0.0.1:9"), "cannot reach ws://127.0.0.1:9"),
        pytest.param(
            ("--devices",),
            "pip install sounddevice",
            marks=pytest.mark.skipif(bool(find_spec("sounddevice")), reason="has sounddevice"),
        ),
    ],
)
async def test_the_command_line_reports_errors_without_a_traceback(arguments, reason):
    status, out, err = await run_cli(*arguments)
    assert (status, out) == (1, "")
    assert reason in err
    assert "Traceback" not in err
