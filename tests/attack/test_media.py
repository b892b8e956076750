"""Hostile audio costs the task that sent it, and nobody else anything."""

import asyncio
import contextlib
import logging
import math
from functools import cache

import numpy as np
import pytest

from asr_server.audio import container, wave
from asr_server.audio.container import Container
from asr_server.audio.wave import HeaderParser
from asr_server.errors import DecodeError
from tests.support.attacks import media
from tests.support.attacks.media import box
from tests.support.decoding import decode, decode_stream
from tests.support.encoding import encode, remux
from tests.support.fake_backend import FakeBackend
from tests.support.serving import (
    LOUD,
    QUIET,
    connected,
    error,
    finish_task,
    run_task,
    serving,
    texts,
)

NON_FINITE = [math.nan, math.inf, -math.inf, 3e38, -3e38]


# Floats that are no audio ------------------------------------------------------------------------


@pytest.mark.parametrize("declared", ["pcm", "wav", "mp3", "opus", "m4a"])
@pytest.mark.parametrize("kind", ["matroska", "mov", "wav"])
@pytest.mark.parametrize("value", NON_FINITE)
def test_samples_are_finite_whatever_the_container_and_the_declared_format(value, kind, declared):
    codec = "pcm_f64le" if declared in ("pcm", "m4a") else "pcm_f32le"
    samples = decode(media.floats(value, kind, codec), declared, cut=5000)
    assert len(samples) >= 16_000 - 1
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1.0


async def test_tasks_of_non_finite_floats_leave_the_recogniser_to_the_others(monkeypatch):
    heard = []
    decode_batch = FakeBackend.decode

    def record(self, works):
        heard.extend(work.pcm for work in works)
        return decode_batch(self, works)

    monkeypatch.setattr(FakeBackend, "decode", record)
    async with serving() as served:
        for value in NON_FINITE:
            async with connected(served) as client:
                await client.say(run_task(), media.floats(value, "mov"), finish_task())
                await client.until("task-finished")
        async with connected(served) as client:
            await client.say(run_task(), LOUD, finish_task())
            assert texts(await client.until("task-finished"))
        assert served.engine.state == "ready"
    assert all(np.isfinite(pcm).all() for pcm in heard)


# Memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        media.claimed_index(),
        media.claimed_index(1_000_000, tracks=8),
        media.claimed_index(500_000),
        media.claimed_fragment(),
        media.claimed_fragment(1_000_000),
    ],
    ids=["60 million", "8 tracks", "few enough for the memory", "fragment", "small fragment"],
)
def test_an_index_that_claims_samples_without_bytes_is_refused(file):
    assert len(file) < 4000
    with pytest.raises(DecodeError):
        decode(file, "m4a")


@pytest.mark.parametrize(
    ("demuxer", "format"), [("mp3", "mp3"), ("flac", "flac"), ("matroska", "webm"), ("ogg", "opus")]
)
def test_a_header_without_end_is_refused_after_eight_megabytes(demuxer, format):
    sent = 0

    def pieces():
        nonlocal sent
        for piece in media.endless_header(demuxer):
            sent += len(piece)
            yield piece

    with pytest.raises(DecodeError, match="no audio in its first 8 MB"):
        asyncio.run(decode_stream(pieces(), format))
    assert sent < container.MAX_HEADER_BYTES + 200_000


# Time --------------------------------------------------------------------------------------------


def test_a_wave_header_of_empty_chunks_is_refused():
    with pytest.raises(DecodeError, match="100 chunks"):
        decode(media.empty_chunks(), "wav", cut=1_000_000)


def test_a_wave_header_that_comes_byte_by_byte_is_parsed_once(monkeypatch):
    parsed = 0
    unpack = wave.struct.unpack_from

    def count(*arguments):
        nonlocal parsed
        parsed += 1
        return unpack(*arguments)

    monkeypatch.setattr(wave.struct, "unpack_from", count)
    header = media.empty_chunks(wave.MAX_HEADER_CHUNKS)
    parser = HeaderParser()
    for end in range(len(header)):
        assert parser.parse(header[:end]) is None
    assert parsed <= wave.MAX_HEADER_CHUNKS


@pytest.mark.parametrize(
    ("grace_s", "refused"), [(0.0, True), (container.GRACE_CPU_S, False)], ids=["over", "within"]
)
def test_a_stream_that_takes_more_cpu_time_than_its_audio_allows_is_refused(
    monkeypatch, grace_s, refused
):
    monkeypatch.setattr(container, "GRACE_CPU_S", grace_s)
    monkeypatch.setattr(container, "MAX_CPU_PER_S", 0.0)
    pieces = iter([media.slow_flac(1)])
    stream = Container("flac", lambda: next(pieces, b""), lambda samples: None)
    if refused:
        with pytest.raises(DecodeError, match="CPU time"):
            stream.decode()
    else:
        stream.decode()


async def test_slow_streams_do_not_hold_up_another_one():
    file = media.slow_flac(2)
    slow = [asyncio.create_task(decode_stream([file] * 40, "flac")) for _ in range(6)]
    quick = await decode_stream([mp3_speech()], "mp3")
    assert len(quick) >= 48_000
    assert not any(task.done() for task in slow)
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


# Codecs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["wavpack", "tta"])
async def test_a_codec_that_nobody_needs_is_refused_by_name(codec):
    file = media.encoded(codec, "matroska", np.zeros(16_000, np.int16))
    async with serving() as served, connected(served) as client:
        await client.say(run_task(format="webm"), file, finish_task())
        code, message = error(await client.until("task-finished"))
        assert code == "InvalidParameter"
        assert message.startswith(f"Failed to decode audio: the codec '{codec}' is not accepted")
        assert "Opus" in message


@pytest.mark.parametrize(
    ("codec", "kind"),
    [
        ("adpcm_ms", "wav"),
        ("adpcm_ima_wav", "wav"),
        ("g722", "wav"),
        ("pcm_mulaw", "wav"),
        ("mp2", "matroska"),
        ("alac", "mp4"),
        ("pcm_s16be", "matroska"),
    ],
)
def test_codecs_of_telephones_and_videos_are_accepted(codec, kind):
    tone = (9000 * np.sin(np.arange(16_000) * 0.2)).astype(np.int16)
    file = media.encoded(codec, kind, tone)
    declared = {"wav": "wav", "mp4": "m4a"}.get(kind, "webm")
    assert len(decode(file, declared)) == pytest.approx(16_000, abs=900)


# Time that nothing takes -------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [500, 36_000])
def test_gaps_in_time_stamps_do_not_become_hours_of_silence(step_s):
    tone = (9000 * np.sin(np.arange(16_000) * 0.2)).astype(np.int16)
    file = remux(encode(tone, "webm"), "webm", lambda at_s: at_s + int(at_s * 20) * step_s)
    assert len(decode(file, "webm")) / 16_000 < 2 + container.GRACE_SILENCE_S + len(file) / 64


def test_a_file_with_its_index_at_the_end_is_kept_up_to_a_limit():
    start = box(b"ftyp", b"M4A \0\0\0\0M4A ") + (1 << 30).to_bytes(4, "big") + b"mdat"
    with pytest.raises(DecodeError, match="moov.*faststart.*24 MB"):
        asyncio.run(decode_stream([start, *[bytes(1 << 20)] * 30], "m4a"))


def test_wave_headers_without_samples_are_refused():
    header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"
    with pytest.raises(DecodeError, match="WAVE header"):
        decode(header * 500, "wav", cut=100_000)


def test_many_tiny_recordings_in_one_stream_are_decoded_within_the_limits():
    file = encode(np.zeros(160, np.int16), "opus")
    with contextlib.suppress(DecodeError):
        decode(file * 300, "opus", cut=100_000)


# Everything at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", media.ATTACKS, ids=lambda attack: attack.__name__)
async def test_a_client_beside_an_attack_is_served_and_the_log_has_no_error(attack, caplog):
    async with serving(close_timeout_s=0.5) as served:
        attacking = asyncio.create_task(attack(f"ws://127.0.0.1:{served.port}"))
        for _ in range(3):
            async with connected(served) as client:
                await client.say(run_task(format="mp3"), mp3_speech(), finish_task())
                assert texts(await client.until("task-finished"))
            await asyncio.sleep(0.2)
        assert not attacking.done()
        attacking.cancel()
        assert [record for record in caplog.records if record.levelno > logging.WARNING] == []
        await asyncio.gather(attacking, return_exceptions=True)


@cache
def mp3_speech() -> bytes:
    return encode(np.frombuffer(QUIET + LOUD + QUIET, "<i2"), "mp3")
