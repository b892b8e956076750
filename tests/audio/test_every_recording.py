"""Recordings as people bring them are decoded completely, and every sound keeps its time."""

import io
import re

import numpy as np
import pytest
import soundfile

from asr_server.audio.decode import Decoder
from asr_server.errors import DecodeError
from tests.support.decoding import POOL, decode
from tests.support.encoding import RATE, can_encode, encodable, encode, remux

BEGINS = [0.5, 1.5, 2.5]
"""Seconds at which the tone of a recording of three seconds begins, each time for 0.25 s."""
TIME = np.arange(3 * RATE) / RATE
SOUNDING = np.any([(begin <= TIME) & (begin + 0.25 > TIME) for begin in BEGINS], axis=0)
BURSTS = (9000 * np.sin(2 * np.pi * 440 * TIME) * SOUNDING).astype(np.int16)
PCM = BURSTS.tobytes()
TOLERANCE_S = 0.06


def onsets(samples: np.ndarray) -> list[float]:
    """Return the seconds at which a sound begins."""
    blocks = np.abs(samples[: len(samples) // 80 * 80].reshape(-1, 80)).max(axis=1)
    sounding = np.convolve(blocks > 0.06, np.ones(10), "full")[: len(blocks)] > 0
    return list(np.flatnonzero(sounding[1:] & ~sounding[:-1]) / 200)


def assert_sounds_at(samples: np.ndarray, *seconds: float) -> None:
    assert onsets(samples) == pytest.approx(list(seconds), abs=TOLERANCE_S)


def wav(samples: np.ndarray = BURSTS, rate: int = RATE, form: str = "WAV", **kwargs) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype="PCM_16", **kwargs)
    return file.getvalue()


@pytest.mark.parametrize(
    "format",
    encodable(
        *"mp3 aac opus amr flac webm m4a alaw speex adpcm mp4 mov 3gp mkv ts avi wma aiff au caf"
        " alac".split()
    ),
)
def test_every_container_keeps_the_times_whatever_was_declared(format):
    data = encode(BURSTS, format)
    assert_sounds_at(decode(data, "wav"), *BEGINS)
    assert_sounds_at(decode(data, "mp3", cut=100_000), *BEGINS)


# Pauses of AMR ------------------------------------------------------------------------------------


@pytest.mark.skipif(not can_encode("amr"), reason="no encoder for AMR")
def test_pauses_of_amr_take_their_time():
    speech = (BURSTS + np.random.default_rng(3).normal(0, 8, len(BURSTS))).astype(np.int16)
    file = encode(speech, "amr", dtx=True)
    assert len(file) < 0.8 * len(encode(speech, "amr"))
    assert_sounds_at(decode(file, "amr"), *BEGINS)


@pytest.mark.parametrize(
    ("header", "speech", "pause"),
    [
        (b"#!AMR\n", b"\x3c" + b"\x55" * 31, b"\x7c"),
        (b"#!AMR\n", b"\x3c" + b"\x55" * 31, b"\x44" + b"\x11" * 5),
        (b"#!AMR-WB\n", b"\x44" + b"\x55" * 60, b"\x7c"),
        (b"#!AMR-WB\n", b"\x44" + b"\x55" * 60, b"\x4c" + b"\x11" * 5),
    ],
    ids=["NB, no data", "NB, SID", "WB, no data", "WB, SID"],
)
def test_each_frame_of_amr_is_20_ms(header, speech, pause):
    file = header + speech * 25 + pause * 50 + speech * 25
    assert len(decode(file, "amr")) / RATE == pytest.approx(2.0, abs=0.001)


# Other recordings in one stream -------------------------------------------------------------------


@pytest.mark.parametrize("format", encodable("opus", "flac", "webm", "m4a", "mp4", "aac", "mp3"))
@pytest.mark.parametrize("cut", [997, 100_000])
def test_a_recorder_that_was_started_again_goes_on(format, cut):
    first = encode(BURSTS, format)
    second = encode(BURSTS, format, 24_000 if format == "mp3" else 48_000, "stereo")
    samples = decode(first + second, format, cut=cut)
    later = [at - begin for at, begin in zip(onsets(samples)[3:], BEGINS, strict=True)]
    assert_sounds_at(samples, *BEGINS, *(begin + later[0] for begin in BEGINS))
    assert later[0] == pytest.approx(3.0, abs=0.15)  # encoders pad the end of a recording


def test_samples_go_on_behind_the_length_that_a_header_declares():
    data = bytearray(wav())
    data[40:44] = (RATE).to_bytes(4, "little")  # half a second
    np.testing.assert_array_equal(decode(bytes(data), "wav", cut=777), BURSTS / np.float32(32768))


@pytest.mark.parametrize("cut", [1, 44, 1000, 10**6])
@pytest.mark.parametrize("length", [None, b"\0\0\0\0", b"\xff\xff\xff\x7f"])
def test_a_header_before_every_part_is_no_sound(cut, length):
    parts = [wav(BURSTS[begin : begin + 8000]) for begin in range(0, len(BURSTS), 8000)]
    if length:
        parts = [part[:40] + length + part[44:] for part in parts]
    if cut == 1:
        parts = [part[:300] for part in parts]
        expected = np.concatenate([BURSTS[b : b + 128] for b in range(0, len(BURSTS), 8000)])
    else:
        expected = BURSTS
    samples = decode(b"".join(parts), "pcm", cut=cut)
    np.testing.assert_array_equal(samples, expected / np.float32(32768))


def test_a_header_in_mid_stream_may_change_rate_and_channels():
    stereo = np.stack([BURSTS] * 2, axis=1)
    samples = decode(wav() + wav(stereo, 8000), "wav")
    assert_sounds_at(samples, *BEGINS, *(3 + 2 * begin for begin in BEGINS))


@pytest.mark.parametrize("odd", [b"", b"\0"], ids=["unpadded", "padded"])
def test_an_odd_chunk_may_lack_its_padding(odd):
    data = wav()
    extra = b"LIST" + (27).to_bytes(4, "little") + b"INFOISFT\x0f\0\0\0Lavf62.12.102XY" + odd
    np.testing.assert_array_equal(
        decode(data[:36] + extra + data[36:], "wav"), BURSTS / np.float32(32768)
    )


@pytest.mark.parametrize("rate", [88_200, 96_000, 192_000])
def test_high_rates_are_accepted_and_a_header_counts_over_the_declared_rate(rate):
    stretched = np.repeat(BURSTS, -(-rate // RATE))[: 3 * rate]
    assert len(decode(wav(stretched, rate), "wav", rate=8000)) == pytest.approx(3 * RATE, abs=2)
    assert len(decode(stretched.tobytes(), "pcm", rate=rate)) == pytest.approx(3 * RATE, abs=2)
    assert len(decode(wav(), "wav", rate=1_000_000)) == 3 * RATE


# Time that is missing -----------------------------------------------------------------------------


def gap(at_s: float) -> float | None:
    """Lose what lies between the first and the last tone."""
    return None if 1.2 < at_s < 2.2 else at_s


@pytest.mark.parametrize(
    ("format", "muxer"),
    [("webm", "webm"), ("webm", "matroska"), ("aac", "mpegts"), ("opus", "ogg")],
)
def test_lost_packets_leave_their_time(format, muxer):
    source = encode(BURSTS, "mkv" if format == "aac" else format)
    assert_sounds_at(decode(remux(source, muxer, gap), format), 0.5, 2.5)


def test_audio_that_begins_after_its_recording_does_so_in_the_times():
    file = remux(encode(BURSTS, "webm"), "webm", lambda at_s: at_s + 2)
    assert_sounds_at(decode(file, "webm"), 2.5, 3.5, 4.5)


def test_audio_that_begins_after_its_video_does_so_in_the_times():
    file = remux(encode(BURSTS, "mkv"), "mpegts", lambda at_s: at_s + 2, video_s=2.5)
    assert_sounds_at(decode(file, "ts"), 2.5, 3.5, 4.5)


@pytest.mark.parametrize("format", ["mp3", "aac", "flac"])
def test_damage_leaves_its_time(format):
    noise = np.random.default_rng(1).normal(0, 300, len(BURSTS)).astype(np.int16)
    data = bytearray(encode(BURSTS + noise, format))
    begin, end = (round(len(data) * share) for share in (0.45, 0.75))
    if format == "flac":
        frames = [found.start() for found in re.finditer(rb"\xff\xf8", bytes(data))]
        begin, end = frames[14], frames[-9]
    data[begin:end] = bytes(end - begin)
    found = onsets(decode(bytes(data), format))
    assert found[0] == pytest.approx(0.5, abs=TOLERANCE_S)
    assert found[-1] == pytest.approx(2.5, abs=2 * TOLERANCE_S)


# Sound that would not come, or late ---------------------------------------------------------------


@pytest.mark.parametrize("rate", [RATE, 48_000])
@pytest.mark.parametrize(("form", "cut"), [("WAV", 1000), ("FLAC", 5000)])
def test_channels_in_opposite_phase_are_not_silence(form, cut, rate):
    tone = np.repeat(BURSTS, rate // RATE)
    data = wav(np.stack([tone, -tone], axis=1), rate, form)
    samples = decode(data, form.lower(), cut=cut)
    assert np.abs(samples).max() == pytest.approx(9000 / 32768, rel=0.05)
    assert_sounds_at(samples, *BEGINS)


async def test_flac_is_decoded_frame_by_frame():
    data = wav(np.random.default_rng(1).integers(-9000, 9000, 3 * RATE, np.int16), form="FLAC")
    decoder = Decoder("flac", RATE, POOL)
    half = data[: len(data) // 2]
    early = sum([len(part) async for part in decoder.feed(half)])
    decoder.close()
    assert early > 1.5 * RATE - 2 * 4096


# What is no sound ---------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", ["wav", "opus"])
@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"#!SILK_V3", "SILK"),
        (b"\x02#!SILK_V3", "SILK"),
        (b"PK\x03\x04", "ZIP"),
        (b"\xff\xd8\xff\xe0", "picture"),
        (b"UklGRiQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQAAAAAAAAAAAAAAAAAA", "text"),
        (b"RIFF\x24\0\0\0WEBP", "RIFF file of another type"),
    ],
)
def test_what_is_no_audio_is_named_with_what_is_accepted(declared, head, named):
    with pytest.raises(DecodeError, match=f"{named}.*accepted are WAV"):
        decode(head + bytes(1000), declared)


def test_big_endian_wave_is_read():
    data = bytearray(wav(BURSTS.byteswap()))
    data[:4] = b"RIFX"
    for at, size in (
        (4, 4),
        (16, 4),
        (20, 2),
        (22, 2),
        (24, 4),
        (28, 4),
        (32, 2),
        (34, 2),
        (40, 4),
    ):
        data[at : at + size] = data[at : at + size][::-1]
    assert_sounds_at(decode(bytes(data), "wav"), *BEGINS)


def test_a_long_wave_file_gives_its_length_elsewhere():
    data = wav()
    sizes = b"ds64\x1c\0\0\0" + bytes(8) + len(PCM).to_bytes(8, "little") + bytes(12)
    head = b"RF64\xff\xff\xff\xffWAVE" + sizes + data[12:40] + b"\xff" * 4
    tail = b"LIST\x04\0\0\0INFO" + bytes(16)
    samples = decode(head + data[44:] + tail[:12], "wav")
    np.testing.assert_array_equal(samples, BURSTS / np.float32(32768))
