"""DashScope's own Python SDK, both of its APIs, with nothing changed but the URL."""

import wave

import dashscope
import pytest
from dashscope.audio.asr import TranslationRecognizerCallback, TranslationRecognizerRealtime
from dashscope.v2.errors import DashScopeError
from dashscope.v2.transport.ws_connection import WsConnection

from tests.support import sdk
from tests.support.background import serving_on_a_thread
from tests.support.serving import LOUD, QUIET

pytestmark = pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API is a preview")

AUDIO = LOUD + QUIET + LOUD + LOUD + QUIET


@pytest.fixture(scope="module")
def server():
    with serving_on_a_thread() as served:
        yield served


@pytest.fixture
def url(server):
    sdk.point_at(server.url)
    return server.url


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "two sentences.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(AUDIO)
    return str(path)


# Recognition, callbacks ---------------------------------------------------------------------------


def test_callbacks_come_in_order_and_end_with_on_complete(url):
    recorder = sdk.stream(AUDIO)
    assert recorder.calls[0] == "open"
    assert recorder.calls[-2:] == ["complete", "close"]
    assert set(recorder.calls[1:-2]) == {"event"}
    assert len(recorder.finals) == 2


def test_interims_grow_into_the_final_of_their_sentence(url):
    recorder = sdk.stream(AUDIO, pace_s=0.02)
    interims = [s for s in recorder.sentences if s["end_time"] is None and s["text"]]
    assert interims
    finals = {s["sentence_id"]: s for s in recorder.sentences if s["end_time"] is not None}
    assert list(finals) == [1, 2]
    assert all(finals[s["sentence_id"]]["text"].startswith(s["text"]) for s in interims)


def test_only_finals_carry_usage(url):
    recorder = sdk.stream(AUDIO)
    for sentence, usage in zip(recorder.sentences, recorder.usages, strict=True):
        assert (usage is None or usage == {}) is (sentence["end_time"] is None)


def test_silence_completes_without_an_event(url):
    recorder = sdk.stream(QUIET)
    assert recorder.calls == ["open", "complete", "close"]


def test_a_task_without_audio_ends_instead_of_hanging(url):
    recorder = sdk.stream(b"")
    assert recorder.calls[:3] == ["open", "error", "close"]  # stop() may say close once more
    assert recorder.error.code == "NO_VALID_AUDIO_ERROR"


def test_an_unknown_model_reaches_on_error(url):
    recorder = sdk.stream(b"", model="whisper")
    assert recorder.calls[:3] == ["open", "error", "close"]  # stop() may say close once more
    assert (recorder.error.status_code, recorder.error.code) == (44, "ModelNotFound")
    assert recorder.error.message == "Model not found (whisper)!"


@pytest.mark.parametrize("model", ["paraformer-realtime-8k-v2", "fun-asr-realtime"])
def test_other_models_and_rates_are_served(url, model):
    recorder = sdk.stream(AUDIO, model=model, sample_rate=8000)
    assert recorder.calls[-2:] == ["complete", "close"]
    assert recorder.finals


# Recognition, file --------------------------------------------------------------------------------


def test_a_file_is_recognised_in_one_call(url, recording):
    result = sdk.call(recording)
    assert result.status_code == 200
    assert len(result.get_sentence()) == 2


def test_a_file_with_a_wrong_parameter_gets_its_error_code(url, recording):
    result = sdk.call(recording, format="midi")
    assert result.code == "UNSUPPORTED_FORMAT"


# The newer client ---------------------------------------------------------------------------------


def new_client():
    return dashscope.Client(api_key=sdk.KEY, base_url="http://127.0.0.1:1/api/v1")


def finals(events) -> list[str]:
    sentences = [e["payload"]["output"]["sentence"] for e in events if e["payload"].get("output")]
    return [s["text"] for s in sentences if s["end_time"] is not None]


def test_the_newer_client_recognises_a_file(url, recording):
    events = list(
        new_client().audio.asr.recognize_file(recording, model=sdk.MODEL, format="wav", ws_url=url)
    )
    assert events[-1]["header"]["event"] == "task-finished"
    assert len(finals(events)) == 2


def test_the_newer_client_streams(url):
    with new_client().audio.asr.recognize(model=sdk.MODEL, ws_url=url) as recognition:
        recognition.send_audio_frame(AUDIO)
        recognition.update_context({"context": []})
        recognition.stop()
        results = list(recognition.results())
    assert sum(result.is_sentence_end() for result in results) == 2


def test_five_tasks_share_one_connection(url):
    asr = new_client().audio.asr
    counts = []
    connection = WsConnection(url=url, api_key=sdk.KEY)
    try:
        for _ in range(5):
            with asr.recognize(model=sdk.MODEL, connection=connection) as recognition:
                recognition.send_audio_frame(AUDIO)
                recognition.stop()
                counts.append(sum(r.is_sentence_end() for r in recognition.results()))
    finally:
        connection.close()
    assert counts == [2] * 5


def test_the_newer_client_raises_the_servers_error(url):
    with (
        pytest.raises(DashScopeError, match="Model not found"),
        new_client().audio.asr.recognize(model="whisper", ws_url=url),
    ):
        pass


# Gummy --------------------------------------------------------------------------------------------


class Transcriber(TranslationRecognizerCallback):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.finals: list[str] = []

    def on_open(self) -> None:
        self.calls.append("open")

    def on_event(self, request_id, transcription_result, translation_result, usage) -> None:
        if transcription_result.is_sentence_end:
            self.finals.append(transcription_result.text)

    def on_complete(self) -> None:
        self.calls.append("complete")

    def on_error(self, message) -> None:
        self.calls.append("error")

    def on_close(self) -> None:
        self.calls.append("close")


def test_gummys_class_transcribes(url):
    callback = Transcriber()
    recogniser = TranslationRecognizerRealtime(
        model="gummy-realtime-v1",
        format="pcm",
        sample_rate=16000,
        transcription_enabled=True,
        callback=callback,
    )
    recogniser.start()
    for begin in range(0, len(AUDIO), 3200):
        recogniser.send_audio_frame(AUDIO[begin : begin + 3200])
    recogniser.stop()
    assert callback.calls == ["open", "complete", "close"]
    assert len(callback.finals) == 2
