"""A task's bytes to samples: mono, 16 kHz, float32 in [-1, 1], however the bytes are cut."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asr_server.audio.resample import Resampler
from asr_server.audio.wave import Header, Layout, parse_header
from asr_server.errors import InvalidParameter, UnsupportedFormat

LOWEST_RATE, HIGHEST_RATE = 8000, 48_000
"""Hz that a task may declare for samples without a header."""
RIFF = b"RIFF"

Pcm = NDArray[np.float32]


class Decoder(Protocol):
    """Turns one task's bytes into samples, piece by piece."""

    def feed(self, data: bytes) -> Pcm:
        """The samples that `data` completes. Raises DecodeError."""
        ...

    def finish(self) -> Pcm:
        """What is left inside; nothing may be fed afterwards."""
        ...


def open_decoder(format: str, sample_rate: int) -> Decoder:
    """A decoder for what a task declares. Raises UnsupportedFormat, InvalidParameter."""
    if format not in ("pcm", "wav"):
        raise UnsupportedFormat(format)
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise InvalidParameter(
            f"Sample rate {sample_rate} is not supported; it must be {LOWEST_RATE} to"
            f" {HIGHEST_RATE} Hz."
        )
    return PcmDecoder(sample_rate)


class PcmDecoder:
    """Samples with or without a RIFF header: clients mix up `pcm` and `wav` both ways."""

    def __init__(self, sample_rate: int) -> None:
        self._layout = Layout(sample_rate)
        self._resampler: Resampler | None = None
        """Set once it is known what the bytes are."""
        self._left: int | None = None
        """Bytes of samples to come, if a header said so; what follows them is not audio."""
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Pcm:
        """The samples that `data` completes. Raises DecodeError."""
        self._waiting += data
        if self._resampler is None and not self._recognised():
            return np.zeros(0, np.float32)
        return self._take(last=False)

    def finish(self) -> Pcm:
        """What is left inside; half a sample is dropped."""
        if self._resampler is None:  # nothing came, or a header that never ended
            return np.zeros(0, np.float32)
        return self._take(last=True)

    def _recognised(self) -> bool:
        """Whether enough has come to know what it is; leaves only samples waiting."""
        if not self._waiting.startswith(RIFF[: len(self._waiting)]):
            self._resampler = Resampler(self._layout.rate)
            return True
        header: Header | None = parse_header(self._waiting)
        if header is None:
            return False
        self._layout, self._left = header.layout, header.length
        self._resampler = Resampler(header.layout.rate)
        del self._waiting[: header.begin]
        return True

    def _take(self, *, last: bool) -> Pcm:
        assert self._resampler is not None
        usable = len(self._waiting) if self._left is None else min(len(self._waiting), self._left)
        usable -= usable % self._layout.frame
        samples = self._layout.mono(self._waiting[:usable])
        del self._waiting[:usable]
        if self._left is not None:
            self._left -= usable
            if self._left < self._layout.frame:
                self._waiting.clear()
        return self._resampler.feed(samples, last=last)
