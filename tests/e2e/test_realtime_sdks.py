"""The official SDKs of OpenAI and of DashScope at the Realtime door, with the demo model."""

import base64
from collections.abc import Iterator
from typing import Any

import dashscope
import numpy as np
import pytest
import soxr
from dashscope.audio.qwen_omni import MultiModality, OmniRealtimeCallback, OmniRealtimeConversation
from dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams
from openai import BadRequestError, NotFoundError, OpenAI

from tests.e2e.test_demo_model import DATA, MOST_WRONG_BY_CODEC, RECORDINGS, pcm
from tests.support import sdk
from tests.support.background import serving_on_a_thread
from tests.support.serving import SMALL_DEMO
from tests.support.texts import error_rate

pytestmark = [
    pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager"),
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),  # translations
    pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API is a preview"),
]

RECORDING = next(one for one in RECORDINGS if one["file"] == "two_sentences.wav")
TEXTS = [sentence["text"] for sentence in RECORDING["sentences"]]
COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"
INTERIM = "conversation.item.input_audio_transcription.text"


@pytest.fixture(scope="module")
def server():
    with serving_on_a_thread(**SMALL_DEMO) as served:
        yield served


@pytest.fixture(scope="module")
def openai(server):
    with OpenAI(api_key=sdk.KEY, base_url=f"{server.http}/v1") as client:
        yield client


def resampled(rate: int) -> bytes:
    samples = np.frombuffer(pcm(RECORDING), "<i2")
    return soxr.resample(samples, 16_000, rate).astype("<i2").tobytes()


def pieces(audio: bytes, size: int = 9600) -> Iterator[str]:
    for begin in range(0, len(audio), size):
        yield base64.b64encode(audio[begin : begin + size]).decode()


def words(text: str) -> str:
    """Return a text without its marks."""
    return "".join(character for character in text if character.isalnum())


def wrong(transcripts: list[str]) -> float:
    """Return the share of wrong characters in transcripts of the whole recording."""
    return error_rate([(words("".join(TEXTS)), transcript) for transcript in transcripts])


# OpenAI -------------------------------------------------------------------------------------------


def test_an_openai_transcription_session_detects_the_sentences(openai):
    events = []
    with openai.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24000},
                        "transcription": {"model": "gpt-4o-transcribe", "language": "zh"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
                    }
                },
            }
        )
        for piece in pieces(resampled(24_000)):
            connection.input_audio_buffer.append(audio=piece)
        for piece in pieces(bytes(48_000)):
            connection.input_audio_buffer.append(audio=piece)
        for event in connection:
            events.append(event)
            if sum(one.type == COMPLETED for one in events) == len(TEXTS):
                break
    assert [words(e.transcript) for e in events if e.type == COMPLETED] == list(map(words, TEXTS))
    kinds = [event.type for event in events]
    assert kinds[:3] == ["session.created", "session.updated", "input_audio_buffer.speech_started"]
    for event in events:
        if event.type == COMPLETED:
            deltas = [one.delta for one in events if one.type == DELTA]
            assert event.transcript in "".join(deltas)
    starts = [e.audio_start_ms for e in events if e.type == "input_audio_buffer.speech_started"]
    for start, sentence in zip(starts, RECORDING["sentences"], strict=True):
        assert start == pytest.approx(sentence["begin_ms"], abs=300)


@pytest.mark.parametrize("format", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_a_commit_ends_the_utterance_without_server_vad(openai, format):
    audio = resampled(24_000 if format == "audio/pcm" else 8000)
    if format != "audio/pcm":
        audio = companded(audio, format)
    with openai.realtime.connect(model="gpt-realtime") as connection:
        connection.session.update(
            session={
                "type": "transcription",
                "audio": {"input": {"format": {"type": format}, "turn_detection": None}},
            }
        )
        transcripts = []
        for _ in range(2):
            for piece in pieces(audio):
                connection.input_audio_buffer.append(audio=piece)
            connection.input_audio_buffer.commit()
        for event in connection:
            if event.type == COMPLETED:
                transcripts.append(words(event.transcript))
            if len(transcripts) == 2:
                break
    assert len(transcripts) == 2
    assert wrong(transcripts) <= (0 if format == "audio/pcm" else MOST_WRONG_BY_CODEC)


def companded(audio: bytes, format: str) -> bytes:
    import av

    encoder = av.CodecContext.create("pcm_mulaw" if format == "audio/pcmu" else "pcm_alaw", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(np.frombuffer(audio, "<i2")[None], "s16", "mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in encoder.encode(frame))


def test_an_unknown_event_is_answered_and_the_session_goes_on(openai):
    with openai.realtime.connect() as connection:
        assert connection.recv().type == "session.created"
        connection.response.create()
        error = connection.recv()
        assert (error.type, error.error.type) == ("error", "invalid_request_error")
        assert "transcribes only" in error.error.message
        connection.input_audio_buffer.clear()
        assert connection.recv().type == "input_audio_buffer.cleared"


def test_the_openai_sdk_transcribes_recordings_in_each_form(openai):
    def transcribed(**options: Any) -> Any:
        recording = (RECORDING["file"], (DATA / RECORDING["file"]).read_bytes())
        return openai.audio.transcriptions.create(model="whisper-1", file=recording, **options)

    plain = transcribed(language="zh", temperature=0, prompt="天气")
    assert words(plain.text) == words("".join(TEXTS))
    assert transcribed(response_format="text").strip() == plain.text
    assert transcribed(response_format="srt").startswith("1\n00:00:0")
    assert transcribed(response_format="vtt").startswith("WEBVTT\n")
    both = ["segment", "word"]
    verbose = transcribed(response_format="verbose_json", timestamp_granularities=both)
    assert [words(segment.text) for segment in verbose.segments] == list(map(words, TEXTS))
    for segment, sentence in zip(verbose.segments, RECORDING["sentences"], strict=True):
        assert 1000 * segment.start == pytest.approx(sentence["begin_ms"], abs=300)
    assert "".join(word.word for word in verbose.words) == words(plain.text)
    events = list(transcribed(stream=True))
    assert [event.type for event in events[-2:]] == [
        "transcript.text.delta",
        "transcript.text.done",
    ]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == plain.text


def test_the_openai_sdk_lists_models_and_reads_errors(openai):
    assert "whisper-1" in {model.id for model in openai.models.list()}
    assert openai.models.retrieve("whisper-1").owned_by == "asr-server"
    with pytest.raises(NotFoundError, match="GET /v1/models lists the names"):
        openai.models.retrieve("parakeet")
    with pytest.raises(BadRequestError, match="no recording in a known format") as refused:
        openai.audio.transcriptions.create(model="whisper-1", file=("a.txt", b"no recording"))
    assert refused.value.param == "file"
    with pytest.raises(BadRequestError, match="does not translate"):
        openai.audio.translations.create(model="whisper-1", file=("a.wav", pcm(RECORDING)))


# DashScope ----------------------------------------------------------------------------------------


class Recorder(OmniRealtimeCallback):
    """Writes down which events came."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def on_event(self, message: Any) -> None:
        self.events.append(message)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


def converse(server, *, vad: bool, rate: int = 16_000) -> Recorder:
    recorder = Recorder()
    conversation = OmniRealtimeConversation(
        model="qwen3-asr-flash-realtime",
        callback=recorder,
        url=f"ws://127.0.0.1:{server.port}/api-ws/v1/realtime",
        api_key=sdk.KEY,
    )
    conversation.connect()
    conversation.update_session(
        output_modalities=[MultiModality.TEXT],
        enable_turn_detection=vad,
        turn_detection_threshold=0.0,
        turn_detection_silence_duration_ms=400,
        transcription_params=TranscriptionParams(
            language="zh", sample_rate=rate, input_audio_format="pcm", corpus_text="达摩院"
        ),
    )
    for piece in pieces(resampled(rate)):
        conversation.append_audio(piece)
    if not vad:
        conversation.commit()
    conversation.end_session()
    conversation.close()
    return recorder


@pytest.mark.parametrize("rate", [8000, 16_000])
def test_the_dashscope_sdk_gets_a_transcript_for_each_sentence(server, rate):
    recorder = converse(server, vad=True, rate=rate)
    transcripts = [words(event["transcript"]) for event in recorder.of(COMPLETED)]
    assert len(transcripts) == len(TEXTS)
    assert wrong(["".join(transcripts)]) <= (0 if rate == 16_000 else MOST_WRONG_BY_CODEC)
    assert recorder.events[0]["type"] == "session.created"
    assert recorder.events[-1]["type"] == "session.finished"
    assert recorder.of("error") == []
    for event in recorder.of(INTERIM):
        assert event["text"] + event["stash"]


def test_the_dashscope_sdk_ends_its_utterance_with_a_commit(server):
    recorder = converse(server, vad=False)
    (completed,) = recorder.of(COMPLETED)
    assert words(completed["transcript"]) == words("".join(TEXTS))
    assert recorder.of("input_audio_buffer.speech_started") == []


def test_the_newer_dashscope_client_gets_a_transcript_for_each_sentence(server):
    client = dashscope.Client(api_key=sdk.KEY, base_url="http://127.0.0.1:1/api/v1")
    url = f"ws://127.0.0.1:{server.port}/api-ws/v1/realtime"
    with client.audio.realtime.connect(model="qwen3-asr-flash-realtime", ws_url=url) as session:
        session.update_session(
            output_modalities=["text"],
            turn_detection_silence_duration_ms=400,
            transcription_params={
                "language": "zh", "sample_rate": 16_000, "input_audio_format": "pcm"
            },
        )  # fmt: skip
        for piece in pieces(pcm(RECORDING)):
            session.append_audio(piece)
        session.end_session()
        events = list(iter(session.recv_event, None))
    completed = [event["transcript"] for event in events if event["type"] == COMPLETED]
    assert list(map(words, completed)) == list(map(words, TEXTS))
    assert events[-1]["type"] == "session.finished"
