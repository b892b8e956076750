"""Resample a stream of any rate to 16 kHz."""

from typing import Any

from asr_server.audio.units import SAMPLE_RATE, Pcm


class Resampler:
    """Resample a stream piece by piece; how the audio is cut changes no sample."""

    def __init__(self, rate: int) -> None:
        self._stream: Any = None
        if rate != SAMPLE_RATE:
            import soxr  # loads a native library, which a 16 kHz client never needs

            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")

    def feed(self, samples: Pcm, *, last: bool = False) -> Pcm:
        """Return (m,) at 16 kHz for (n,) at the given rate; `last` flushes the filter."""
        if self._stream is None:
            return samples
        resampled: Pcm = self._stream.resample_chunk(samples, last=last)
        return resampled
