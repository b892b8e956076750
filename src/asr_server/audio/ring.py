"""The recent audio of a stream, addressed by absolute sample.

A position always increases and never wraps, so times need no translation.
"""

import numpy as np
from numpy.typing import NDArray

from asr_server.audio.units import Samples


class Ring:
    """A window `[begin, end)` of a stream that grows at its end and is released at its begin."""

    def __init__(self) -> None:
        self._data = np.zeros(16_000, dtype=np.float32)
        self._begin: Samples = 0
        self._end: Samples = 0

    @property
    def begin(self) -> Samples:
        """The oldest sample still held."""
        return self._begin

    @property
    def end(self) -> Samples:
        """One past the newest sample."""
        return self._end

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add (n,) float32 samples at the end."""
        held = self._end - self._begin
        needed = held + len(samples)
        if needed > len(self._data):
            grown = np.zeros(max(needed, 2 * len(self._data)), dtype=np.float32)
            grown[:held] = self._data[:held]
            self._data = grown
        self._data[held:needed] = samples
        self._end += len(samples)

    def read(self, begin: Samples, end: Samples) -> NDArray[np.float32]:
        """A copy of `[begin, end)`, which must lie inside the window."""
        if not self._begin <= begin <= end <= self._end:
            raise IndexError(f"[{begin}, {end}) is outside [{self._begin}, {self._end})")
        return self._data[begin - self._begin : end - self._begin].copy()

    def release(self, before: Samples) -> None:
        """Forget everything before a position.

        The memory moves only when more than half of it is free, so that releasing a little often
        costs amortised constant time per sample.
        """
        before = min(before, self._end)
        free = before - self._begin
        if free * 2 < len(self._data):
            return
        held = self._end - before
        data = np.zeros(max(16_000, held), dtype=np.float32)
        data[:held] = self._data[free : free + held]
        self._data = data
        self._begin = before
