"""Bytes become the same samples however they are cut and labelled, with or without a header."""

import asyncio
import io
import itertools
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_server.audio.decode import Decoder
from asr_server.errors import DecodeError, InvalidParameter, UnsupportedFormat
from tests.support import decoding
from tests.support.decoding import POOL, decode_stream

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
PCM = (TONE * 32767).astype("<i2").tobytes()
EXACT = np.frombuffer(PCM, "<i2").astype(np.float32) / 32768


def riff(samples=EXACT, rate=RATE, subtype="PCM_16", form="WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def decode(data: bytes, format="pcm", rate=RATE, cut=3200) -> np.ndarray:
    return decoding.decode(data, format, rate, cut)


def test_pcm_is_decoded_exactly():
    np.testing.assert_array_equal(decode(PCM), EXACT)


@pytest.mark.parametrize("format", ["pcm", "wav"])
@pytest.mark.parametrize("data", [PCM, riff()], ids=["headerless", "with header"])
def test_the_header_overrides_the_declared_format(format, data):
    np.testing.assert_array_equal(decode(data, format), EXACT)


@given(st.lists(st.integers(0, 700), max_size=40), st.booleans())
@settings(deadline=None)
def test_any_cut_gives_the_same_samples(cuts, headed):
    data = riff(EXACT[:2000]) if headed else PCM[:4000]
    places = [0, *itertools.accumulate(cuts), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places)]
    decoded = asyncio.run(decode_stream(pieces, "pcm", RATE))
    np.testing.assert_array_equal(decoded, EXACT[:2000])


@pytest.mark.parametrize("data", [PCM[:400], riff(EXACT[:200])], ids=["headerless", "headed"])
def test_single_bytes_are_decoded(data):
    np.testing.assert_array_equal(decode(data, cut=1), EXACT[:200])


def test_half_a_sample_at_the_end_is_dropped():
    assert len(decode(PCM[:401])) == 200


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000])
def test_every_rate_is_resampled_to_16_khz(rate):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    decoded = decode((tone * 32767).astype("<i2").tobytes(), rate=rate)
    assert abs(len(decoded) - RATE) <= 1
    assert np.corrcoef(decoded[: RATE - 1], TONE[: RATE - 1])[0, 1] > 0.999


def test_resampling_does_not_depend_on_the_cut():
    pcm = PCM[:20_000]
    whole = decode(pcm, rate=8000, cut=len(pcm))
    np.testing.assert_allclose(decode(pcm, rate=8000, cut=331), whole, atol=1e-6)


@pytest.mark.parametrize("rate", [0, -1, 7999, 192_001, 10**9])
def test_a_sample_rate_out_of_range_is_refused(rate):
    with pytest.raises(InvalidParameter, match="Sample rate"):
        Decoder("pcm", rate, POOL)


def test_an_unknown_format_is_refused():
    with pytest.raises(UnsupportedFormat, match="'midi'"):
        Decoder("midi", RATE, POOL)


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 1e-2),
        ("PCM_16", 1e-9),
        ("PCM_24", 1e-6),
        ("PCM_32", 1e-6),
        ("FLOAT", 1e-6),
        ("DOUBLE", 1e-6),
    ],
)
def test_every_width_of_sample_is_read(subtype, tolerance):
    np.testing.assert_allclose(decode(riff(subtype=subtype)), EXACT, atol=tolerance)


def test_channels_are_mixed_and_the_header_overrides_the_rate():
    stereo = np.stack([TONE[::2], np.zeros(RATE // 2)], axis=1)
    decoded = decode(riff(stereo, rate=8000), rate=48_000)
    assert abs(len(decoded) - RATE) <= 1
    assert np.abs(decoded).max() == pytest.approx(0.25, abs=0.02)


def test_an_extensible_header_is_read():
    np.testing.assert_allclose(decode(riff(subtype="PCM_24", form="WAVEX")), EXACT, atol=1e-6)


@pytest.mark.parametrize("length", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])
def test_a_header_without_a_length_is_followed_by_an_endless_stream(length):
    data = riff()
    at = data.index(b"data") + 4
    decoded = decode(data[:at] + length + data[at + 4 :] + PCM)
    np.testing.assert_array_equal(decoded, np.concatenate([EXACT, EXACT]))


def test_chunks_after_the_samples_are_not_audio():
    assert len(decode(riff() + b"LIST\x10\0\0\0INFOISFT\4\0\0\0Lavf")) == RATE


def test_chunks_before_the_samples_are_skipped():
    data = riff()
    extra = b"LIST" + (601).to_bytes(4, "little") + b"\1" * 602  # odd chunks are padded
    np.testing.assert_array_equal(decode(data[:12] + extra + data[12:], cut=50), EXACT)


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF\0\0\0\0AVI " + b"\0" * 100,
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0" + b"\0" * 100,
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + b"\0" * 100,
        b"RIFF\0\0\0\0WAVEfmt \4\0\0\0\1\0\1\0" + b"\0" * 100,
        b"RIFF\0\0\0\0WAVEJUNK\xf0\xff\xff\x7f" + b"\0" * 100,
    ],
    ids=["not wave", "no format", "zero format", "short format", "endless header"],
)
def test_a_malformed_header_is_refused(data):
    with pytest.raises(DecodeError):
        decode(data)


@pytest.mark.parametrize("data", [b"", b"R", riff()[:12], riff()[:30], riff()[:44]])
def test_a_header_without_samples_gives_no_samples(data):
    assert len(decode(data)) == 0


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_no_header_crashes_the_decoder(tail):
    try:
        decode(b"RIFF\0\0\0\0WAVE" + tail)
    except DecodeError:
        pass


def test_files_of_pythons_wave_module_are_decoded():
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(PCM)
    np.testing.assert_array_equal(decode(file.getvalue(), cut=7), EXACT)
