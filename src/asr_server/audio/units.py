"""Define the unit of time inside the server: samples at 16 kHz from the start of a task.

Milliseconds exist only in the protocol and in settings.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples per second of all decoded audio."""

Samples: TypeAlias = int
"""A position or a length in 16 kHz samples."""

Pcm: TypeAlias = NDArray[np.float32]
"""(n,) mono samples in [-1, 1], 16 kHz."""


def to_ms(samples: Samples) -> int:
    """Return a sample position in milliseconds, rounded to nearest."""
    return (samples * 1000 + SAMPLE_RATE // 2) // SAMPLE_RATE


def from_ms(ms: float) -> Samples:
    """Return a time in milliseconds as a sample position, rounded to nearest."""
    return round(ms * SAMPLE_RATE / 1000)


def bounded(samples: Pcm) -> Pcm:
    """Return finite samples in [-1, 1]: NaN becomes 0, all others are clipped."""
    if not len(samples) or np.abs(samples).max() <= 1.0:  # NaN compares as False
        return samples
    return np.nan_to_num(samples, nan=0.0).clip(-1.0, 1.0)
