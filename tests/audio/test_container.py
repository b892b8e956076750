"""Compressed audio is decoded completely, with low latency, and within bounds."""

import numpy as np
import pytest

from asr_server.audio.container import Container
from asr_server.audio.decode import DEMUXERS, UNCOMPRESSED, Decoder
from asr_server.errors import DecodeError
from asr_server.settings import AudioFormat
from tests.support.decoding import POOL, decode
from tests.support.encoding import FORMATS, RATE, can_encode, encodable, encode

SECONDS = 4
TIME = np.arange(SECONDS * RATE) / RATE
BURSTS = np.sin(2 * np.pi * 2 * TIME) > 0  # a quarter of a second on, a quarter off
TONE = (9000 * np.sin(2 * np.pi * 440 * TIME) * BURSTS).astype(np.int16)

formats = pytest.mark.parametrize("format", encodable(*FORMATS))


@pytest.fixture(scope="module")
def files():
    return {format: encode(TONE, format) for format in FORMATS if can_encode(format)}


def label(format: str) -> str:
    return "wav" if format == "alaw" else format


def envelope(samples: np.ndarray) -> np.ndarray:
    """Return the level of every 10 ms."""
    whole = len(samples) // 160 * 160
    return np.sqrt(np.mean(samples[:whole].reshape(-1, 160).astype(np.float64) ** 2, axis=1))


def assert_same_audio(decoded: np.ndarray) -> None:
    """Assert that the audio is complete and in place, up to the encoder's delay of 80 ms."""
    assert -100 <= len(decoded) - len(TONE) <= 1700
    actual, expected = envelope(decoded), envelope(TONE / 32768)
    n = len(expected) - 10
    assert max(np.corrcoef(actual[s : s + n], expected[:n])[0, 1] for s in range(9)) > 0.95


@formats
@pytest.mark.parametrize("cut", [97, 4096, 10**9])
def test_every_format_is_decoded_however_it_is_cut(files, format, cut):
    assert_same_audio(decode(files[format], label(format), cut=cut))


def test_single_bytes_are_decoded_too(files):
    assert_same_audio(decode(files["mp3"], "mp3", cut=1))


@formats
def test_the_cut_changes_no_sample(files, format):
    data = files[format]
    np.testing.assert_array_equal(
        decode(data, label(format), cut=313), decode(data, label(format), cut=len(data))
    )


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "m4a"])
def test_stereo_at_48_khz_is_mixed_and_resampled(format):
    assert_same_audio(decode(encode(TONE, format, 48_000, "stereo"), format))


@formats
async def test_samples_come_before_the_file_has_ended(files, format):
    decoder = Decoder(label(format), RATE, POOL)
    data = files[format]
    early = 0
    for begin in range(0, len(data) * 2 // 3, 100):
        early += sum([len(part) async for part in decoder.feed(data[begin : begin + 100])])
    decoder.close()
    assert early > RATE


@pytest.mark.parametrize("declared", ["pcm", "wav", "mp3", "opus", "amr"])
@pytest.mark.parametrize("actual", encodable("opus", "flac", "amr", "webm", "m4a"))
def test_the_content_overrides_the_declared_format(files, declared, actual):
    assert_same_audio(decode(files[actual], declared))


def test_audio_whose_rate_and_channels_change_is_decoded_on():
    halves = encode(TONE, "mp3", 16_000) + encode(TONE, "mp3", 24_000, "stereo")
    assert abs(len(decode(halves, "mp3")) - 2 * len(TONE)) < RATE // 4


@pytest.mark.parametrize("format", sorted(set(DEMUXERS) - {"mp3", "aac"}))
def test_garbage_is_refused(format):
    noise = np.random.default_rng(1).bytes(200_000)
    with pytest.raises(DecodeError, match="^Failed to decode audio: (no audio|it holds)"):
        decode(noise, format)


@pytest.mark.parametrize("format", ["mp3", "aac"])
def test_noise_that_resembles_frames_does_not_crash_the_decoder(format):
    try:
        decode(np.random.default_rng(1).bytes(200_000), format)
    except DecodeError:
        pass


@formats
def test_a_truncated_file_is_decoded_up_to_its_end(files, format):
    assert len(decode(files[format][: len(files[format]) // 2], label(format))) >= RATE


@pytest.mark.parametrize("format", encodable("mp3", "aac", "opus", "amr"))
def test_damage_loses_only_the_damaged_part(files, format):
    data = bytearray(files[format])
    data[len(data) // 2 : len(data) // 2 + 50] = b"\xaa" * 50
    assert len(decode(bytes(data), format)) > RATE * (SECONDS - 1.5)


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr("asr_server.audio.container.MIN_BYTES_PER_S", 1000)
    pieces = iter([encode(np.zeros(RATE * 300, np.int16), "flac")])  # 56 bytes a second
    with pytest.raises(DecodeError, match="bytes a second"):
        Container("flac", lambda: next(pieces, b""), lambda samples: None).decode()


def test_silence_is_no_decompression_bomb():
    assert len(decode(encode(np.zeros(RATE * 300, np.int16), "flac"), "flac")) == RATE * 300


def test_the_settings_name_the_same_formats():
    assert set(AudioFormat.__args__) == {*UNCOMPRESSED, *DEMUXERS}
