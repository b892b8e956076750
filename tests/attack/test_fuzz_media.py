"""Whatever bytes come: finite samples or DecodeError, no crash, no hang, nothing left behind.

`make fuzz` runs many more examples.
"""

import asyncio
import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.audio.decode import DEMUXERS, UNCOMPRESSED
from asr_server.errors import DecodeError
from tests.support.attacks.damage import Edit, Kind, valid_files
from tests.support.decoding import POOL, decode_stream, processes

HANG_S = 30

edits = st.builds(
    Edit,
    st.sampled_from(get_args(Kind)),
    st.floats(0, 1, exclude_max=True) | st.floats(0, 0.02),
    st.integers(1, 2000),
    st.binary(min_size=1, max_size=40),
)
names = st.deferred(lambda: st.sampled_from(sorted(valid_files())))
cuts = st.lists(st.integers(0, 5000), max_size=8)
formats = st.sampled_from([*UNCOMPRESSED, *DEMUXERS])


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left():
    asyncio.run(decode_stream([valid_files()["mp3"]], "mp3"))
    files = Path("/proc/self/fd")
    before = len(os.listdir(files)) if files.is_dir() else 0
    yield
    assert processes(POOL) == []
    if files.is_dir():
        assert len(os.listdir(files)) <= before + 2


def check(data: bytes, format: str, places: list[int]) -> None:
    """Decode bytes cut at some places."""
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    pieces = [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    try:
        samples = asyncio.run(asyncio.wait_for(decode_stream(pieces, format), HANG_S))
    except DecodeError:
        return
    assert samples.dtype == np.float32
    assert np.isfinite(samples).all()
    assert not len(samples) or np.abs(samples).max() <= 1.0


@given(names, st.lists(edits, max_size=4), formats, cuts)
def test_damaged_files_become_samples_or_an_error(name, damage, format, places):
    data = valid_files()[name]
    for edit in damage:
        data = edit.apply(data)
    check(data, format, places)


@given(st.binary(max_size=3000), formats, cuts)
def test_arbitrary_bytes_become_samples_or_an_error(data, format, places):
    check(data, format, places)


@given(
    st.sampled_from([(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)]),
    st.integers(1, 4),
    st.sampled_from([8000, 16_000, 44_100, 192_000]),
    st.binary(min_size=64, max_size=3000),
    cuts,
)
def test_any_uncompressed_samples_become_finite_ones(kind, channels, rate, data, places):
    tag, bits = kind
    frame = channels * bits // 8
    header = (
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"
        + tag.to_bytes(2, "little")
        + channels.to_bytes(2, "little")
        + rate.to_bytes(4, "little")
        + (rate * frame).to_bytes(4, "little")
        + frame.to_bytes(2, "little")
        + bits.to_bytes(2, "little")
        + b"data\0\0\0\0"
    )
    check(header + data, "wav", places)
