"""Buffer the recent audio of a stream, addressed by absolute sample position."""

import numpy as np

from asr_server.audio.units import SAMPLE_RATE, Pcm, Samples


class Ring:
    """Hold the window `[begin, end)` of a stream: appended at its end, released at its begin.

    Positions always increase and never wrap, so times need no translation.
    """

    def __init__(self) -> None:
        self._data: Pcm = np.zeros(SAMPLE_RATE, dtype=np.float32)
        self.begin: Samples = 0
        """The oldest sample still held."""
        self.end: Samples = 0
        """One past the newest sample."""

    def append(self, samples: Pcm) -> None:
        """Add (n,) samples at the end."""
        held = self.end - self.begin
        needed = held + len(samples)
        if needed > len(self._data):
            grown = np.zeros(max(needed, 2 * len(self._data)), dtype=np.float32)
            grown[:held] = self._data[:held]
            self._data = grown
        self._data[held:needed] = samples
        self.end += len(samples)

    def read(self, begin: Samples, end: Samples) -> Pcm:
        """Return a copy of `[begin, end)`, which must lie inside the window."""
        if not self.begin <= begin <= end <= self.end:
            raise IndexError(f"[{begin}, {end}) is outside [{self.begin}, {self.end})")
        return self._data[begin - self.begin : end - self.begin].copy()

    def read_padded(self, begin: Samples, end: Samples) -> Pcm:
        """Return the samples `[begin, end)`, with zeros for those that have not arrived."""
        samples = self.read(begin, min(end, self.end))
        return np.pad(samples, (0, end - begin - len(samples))) if end > self.end else samples

    def release(self, before: Samples) -> None:
        """Release all samples before a position.

        The buffer is copied only when at least half of it is free, so frequent small releases cost
        amortised constant time per sample.
        """
        before = min(before, self.end)
        free = before - self.begin
        if free * 2 < len(self._data):
            return
        held = self.end - before
        data = np.zeros(max(SAMPLE_RATE, held), dtype=np.float32)
        data[:held] = self._data[free : free + held]
        self._data, self.begin = data, before
