"""The unit of time inside the server: samples at 16 kHz, counted from the start of a task.

Milliseconds exist only on the wire and in settings.
"""

from typing import TypeAlias

SAMPLE_RATE = 16_000
"""Samples per second of everything behind the decoder."""

Samples: TypeAlias = int
"""A position or a length in 16 kHz samples."""


def to_ms(samples: Samples) -> int:
    """Whole milliseconds of a sample position, rounded to nearest."""
    return (samples * 1000 + SAMPLE_RATE // 2) // SAMPLE_RATE


def from_ms(ms: float) -> Samples:
    """Sample position of a time in milliseconds, rounded to nearest."""
    return round(ms * SAMPLE_RATE / 1000)
