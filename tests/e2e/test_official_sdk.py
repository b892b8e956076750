"""DashScope's own Python SDK, both of its APIs, with nothing changed but the URL."""

import asyncio
import wave

import dashscope
import pytest
from dashscope.audio.asr import TranslationRecognizerCallback, TranslationRecognizerRealtime
from dashscope.v2.errors import DashScopeError
from dashscope.v2.transport.ws_connection import WsConnection

from tests.support import sdk
from tests.support.serving import LOUD, QUIET, serving

pytestmark = pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API is a preview")

AUDIO = LOUD + QUIET + LOUD + LOUD + QUIET


@pytest.fixture
async def url():
    async with serving() as served:
        sdk.point_at(served.url)
        yield served.url


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


async def test_callbacks_come_in_order_and_on_complete_comes(url):
    heard = await asyncio.to_thread(sdk.stream, AUDIO)
    assert heard.calls[0] == "open"
    assert heard.calls[-2:] == ["complete", "close"]
    assert set(heard.calls[1:-2]) == {"event"}
    assert len(heard.finals) == 2


async def test_interims_grow_into_the_final_of_their_sentence(url):
    heard = await asyncio.to_thread(sdk.stream, AUDIO, pace_s=0.02)
    interims = [s for s in heard.sentences if s["end_time"] is None and s["text"]]
    assert interims
    finals = {s["sentence_id"]: s for s in heard.sentences if s["end_time"] is not None}
    assert list(finals) == [1, 2]
    assert all(finals[s["sentence_id"]]["text"].startswith(s["text"]) for s in interims)


async def test_only_finals_carry_usage(url):
    heard = await asyncio.to_thread(sdk.stream, AUDIO)
    for sentence, usage in zip(heard.sentences, heard.usages, strict=True):
        assert (usage is None or usage == {}) is (sentence["end_time"] is None)


async def test_silence_completes_without_an_event(url):
    heard = await asyncio.to_thread(sdk.stream, QUIET)
    assert heard.calls == ["open", "complete", "close"]


async def test_a_task_without_audio_ends_instead_of_hanging(url):
    heard = await asyncio.to_thread(sdk.stream, b"")
    assert heard.calls[:3] == ["open", "error", "close"]  # stop() may say close once more
    assert heard.error.code == "NO_VALID_AUDIO_ERROR"


async def test_an_unknown_model_reaches_on_error(url):
    heard = await asyncio.to_thread(sdk.stream, b"", model="whisper")
    assert heard.calls[:3] == ["open", "error", "close"]  # stop() may say close once more
    assert (heard.error.status_code, heard.error.code) == (44, "ModelNotFound")
    assert heard.error.message == "Model not found (whisper)!"


@pytest.mark.parametrize("model", ["paraformer-realtime-8k-v2", "fun-asr-realtime"])
async def test_other_models_and_rates_are_served(url, model):
    heard = await asyncio.to_thread(sdk.stream, AUDIO, model=model, sample_rate=8000)
    assert heard.calls[-2:] == ["complete", "close"]
    assert heard.finals


# Recognition, file --------------------------------------------------------------------------------


async def test_a_file_is_recognised_in_one_call(url, recording):
    result = await asyncio.to_thread(sdk.call, recording)
    assert result.status_code == 200
    assert len(result.get_sentence()) == 2


async def test_a_file_with_a_wrong_parameter_says_so(url, recording):
    result = await asyncio.to_thread(sdk.call, recording, format="midi")
    assert result.code == "UNSUPPORTED_FORMAT"


# The newer client ---------------------------------------------------------------------------------


def new_client():
    return dashscope.Client(api_key=sdk.KEY, base_url="http://127.0.0.1:1/api/v1")


def finals(events) -> list[str]:
    sentences = [e["payload"]["output"]["sentence"] for e in events if e["payload"].get("output")]
    return [s["text"] for s in sentences if s["end_time"] is not None]


async def test_the_newer_client_recognises_a_file(url, recording):
    def run():
        client = new_client()
        return list(
            client.audio.asr.recognize_file(recording, model=sdk.MODEL, format="wav", ws_url=url)
        )

    events = await asyncio.to_thread(run)
    assert events[-1]["header"]["event"] == "task-finished"
    assert len(finals(events)) == 2


async def test_the_newer_client_streams(url):
    def run():
        client = new_client()
        with client.audio.asr.recognize(model=sdk.MODEL, ws_url=url) as recognition:
            recognition.send_audio_frame(AUDIO)
            recognition.update_context({"context": []})
            recognition.stop()
            return list(recognition.results())

    results = await asyncio.to_thread(run)
    assert sum(result.is_sentence_end() for result in results) == 2


async def test_five_tasks_share_one_connection(url):
    def run():
        client = new_client()
        counts = []
        connection = WsConnection(url=url, api_key=sdk.KEY)
        try:
            for _ in range(5):
                with client.audio.asr.recognize(
                    model=sdk.MODEL, connection=connection
                ) as recognition:
                    recognition.send_audio_frame(AUDIO)
                    recognition.stop()
                    counts.append(sum(r.is_sentence_end() for r in recognition.results()))
        finally:
            connection.close()
        return counts

    assert await asyncio.to_thread(run) == [2] * 5


async def test_the_newer_client_raises_what_the_server_says(url):
    def run():
        client = new_client()
        with client.audio.asr.recognize(model="whisper", ws_url=url):
            pass

    with pytest.raises(DashScopeError, match="Model not found"):
        await asyncio.to_thread(run)


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


async def test_gummys_class_transcribes(url):
    def run():
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
        return callback

    callback = await asyncio.to_thread(run)
    assert callback.calls == ["open", "complete", "close"]
    assert len(callback.finals) == 2
