"""The buffer of a stream's recent audio."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.audio.ring import Ring


@given(st.lists(st.integers(0, 5_000), max_size=30), st.integers(0, 60_000))
def test_a_ring_reads_what_was_appended_wherever_it_was_released(
    sizes: list[int], release: int
) -> None:
    ring, everything = Ring(), np.empty(0, dtype=np.float32)
    for size in sizes:
        samples = np.arange(len(everything), len(everything) + size, dtype=np.float32)
        ring.append(samples)
        everything = np.concatenate((everything, samples))
        ring.release(min(release, ring.end) // 2)
        assert ring.end == len(everything)
        assert ring.read(ring.begin, ring.end).tolist() == everything[ring.begin :].tolist()


def test_released_samples_cannot_be_read() -> None:
    ring = Ring()
    ring.append(np.zeros(40_000, dtype=np.float32))
    ring.release(39_000)
    with pytest.raises(IndexError):
        ring.read(0, 10)


def test_an_hour_of_audio_keeps_no_more_memory_than_its_window() -> None:
    ring = Ring()
    second = np.zeros(16_000, dtype=np.float32)
    for _ in range(3_600):
        ring.append(second)
        ring.release(ring.end - 16_000)
    assert ring._data.nbytes < 1_000_000
