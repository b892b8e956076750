"""The whole server with the embedded model: recordings in, transcripts out, with every client."""

import json
from pathlib import Path

import dashscope
import numpy as np
import pytest
import soxr
from dashscope.v2.transport.ws_connection import WsConnection

from asr_server.models.registry import DEMO, resolve
from asr_server.settings import Settings
from tests.support import sdk
from tests.support.background import serving_on_a_thread
from tests.support.encoding import encode
from tests.support.serving import SMALL_DEMO
from tests.support.texts import bare, error_rate

DATA = Path(__file__).parents[1] / "data"
RECORDINGS = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
AS_SPOKEN = {"inverse_text_normalization_enabled": False}
"""The transcripts are as spoken; digits are for the tests of ITN."""
MOST_WRONG = 0.05
"""Share of the recordings' characters: voices and sentences the model was not trained on."""
MOST_WRONG_BY_CODEC = 0.2
"""What a lossy codec, or half the bandwidth, may change of two short sentences."""
MOST_MS_APART = 96
"""How far the time of a sentence may lie from that of the WAV file: three windows of the VAD, which
a codec's noise may move. `tests/audio/test_every_recording.py` compares the samples themselves."""

pytestmark = [
    pytest.mark.skipif(resolve(DEMO, Settings()) is None, reason="the demo model is not here"),
    pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API is a preview"),
]


@pytest.fixture(scope="module")
def url():
    with serving_on_a_thread(**SMALL_DEMO) as served:
        yield served.url


@pytest.fixture(autouse=True)
def _official_sdk(url):
    sdk.point_at(url)


def file(recording) -> str:
    return str(DATA / recording["file"])


def pcm(recording) -> bytes:
    return Path(file(recording)).read_bytes()[44:]


def assert_recognised(finals: list[list[str]]) -> None:
    """The finals of all recordings, each with as many sentences as were spoken."""
    said = [bare(s["text"] for s in recording["sentences"]) for recording in RECORDINGS]
    assert [len(sentences) for sentences in finals] == [len(sentences) for sentences in said]
    pairs = [("".join(a), "".join(bare(b))) for a, b in zip(said, finals, strict=True)]
    assert error_rate(pairs) <= MOST_WRONG, pairs


def test_the_sdk_in_file_mode_gets_the_transcripts():
    results = [sdk.call(file(recording), **AS_SPOKEN) for recording in RECORDINGS]
    assert_recognised([[s["text"] for s in result.get_sentence()] for result in results])


def test_the_sdks_callbacks_get_the_transcripts():
    results = [sdk.stream(pcm(recording), **AS_SPOKEN) for recording in RECORDINGS]
    assert_recognised([recorder.finals for recorder in results])
    assert {tuple(recorder.calls[-2:]) for recorder in results} == {("complete", "close")}


def test_the_newer_client_gets_the_transcripts_and_their_times(url):
    client = dashscope.Client(api_key=sdk.KEY, base_url="http://127.0.0.1:1/api/v1")
    connection = WsConnection(url=url, api_key=sdk.KEY)
    results = []
    try:
        for recording in RECORDINGS:
            with client.audio.asr.recognize(
                model=sdk.MODEL, connection=connection, parameters=AS_SPOKEN
            ) as recognition:
                recognition.send_audio_frame(pcm(recording))
                recognition.stop()
                sentences = [result.get_sentence() for result in recognition.results()]
            results.append([s for s in sentences if s["end_time"] is not None])
    finally:
        connection.close()
    assert_recognised([[s["text"] for s in finals] for finals in results])
    for recording, finals in zip(RECORDINGS, results, strict=True):
        for said, final in zip(recording["sentences"], finals, strict=True):
            assert final["begin_time"] == pytest.approx(said["begin_ms"], abs=300)
            assert final["end_time"] == pytest.approx(said["end_ms"], abs=300)
            assert_words_fill(final)


def assert_words_fill(final) -> None:
    assert final["text"] == "".join(w["text"] + w["punctuation"] for w in final["words"])
    times = [t for word in final["words"] for t in (word["begin_time"], word["end_time"])]
    assert times == sorted(times)
    assert final["begin_time"] <= times[0]
    assert times[-1] <= final["end_time"]


def test_numbers_become_digits_unless_the_request_disables_it():
    (phone,) = [recording for recording in RECORDINGS if recording["file"] == "phone.wav"]
    (written,) = sdk.call(file(phone)).get_sentence()
    (spoken,) = sdk.call(file(phone), **AS_SPOKEN).get_sentence()
    assert sum(c.isdigit() for c in written["text"]) >= 10
    assert not any(c.isdecimal() for c in spoken["text"])


@pytest.fixture(scope="module")
def uncompressed(url):
    sdk.point_at(url)
    return sdk.call(file(RECORDINGS[-1]), **AS_SPOKEN).get_sentence()


@pytest.mark.parametrize(
    "format", ["opus", "mp3", "aac", "flac", "webm", "m4a", "mp4", "mkv", "ts", "aiff"]
)
def test_every_container_gives_the_text_and_the_times_of_wav(format, tmp_path, uncompressed):
    path = tmp_path / f"recording.{format}"
    path.write_bytes(encode(np.frombuffer(pcm(RECORDINGS[-1]), "<i2"), format))
    results = sdk.call(str(path), format=format, **AS_SPOKEN).get_sentence()
    pairs = list(zip(uncompressed, results, strict=True))
    wrong = error_rate((a["text"], b["text"]) for a, b in pairs)
    assert wrong <= (0 if format in ("flac", "aiff") else MOST_WRONG_BY_CODEC)
    for one, other in pairs:
        for name in ("begin_time", "end_time"):
            assert one[name] == pytest.approx(other[name], abs=MOST_MS_APART)


def test_audio_at_8_khz_gives_the_text_of_16_khz(uncompressed):
    narrow = soxr.resample(np.frombuffer(pcm(RECORDINGS[-1]), "<i2"), 16_000, 8000)
    results = sdk.stream(narrow.astype("<i2").tobytes(), sample_rate=8000, **AS_SPOKEN)
    assert len(results.finals) == len(uncompressed)
    texts = [sentence["text"] for sentence in uncompressed]
    assert error_rate(zip(texts, results.finals, strict=True)) <= MOST_WRONG_BY_CODEC


@pytest.mark.parametrize("level", [0, 30, 3000], ids=["silence", "hiss", "noise"])
def test_audio_without_speech_completes_without_a_result(level):
    noise = np.random.default_rng(7).normal(0, level, 5 * 16_000).astype("<i2")
    results = sdk.stream(noise.tobytes())
    assert results.calls == ["open", "complete", "close"]
