"""A stream at any rate to one at 16 kHz."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_server.audio.units import SAMPLE_RATE

Pcm = NDArray[np.float32]


class Resampler:
    """Keeps what it needs between calls, so that cutting the audio differently changes nothing."""

    def __init__(self, rate: int) -> None:
        self._stream: Any = None
        if rate != SAMPLE_RATE:
            import soxr  # loads a native library, which a 16 kHz client never needs

            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")

    def feed(self, samples: Pcm, *, last: bool = False) -> Pcm:
        """(n,) at the given rate to (m,) at 16 kHz; `last` brings out what is still inside."""
        if self._stream is None:
            return samples
        resampled: Pcm = self._stream.resample_chunk(samples, last=last)
        return resampled
