"""A leak is seen, noise is not taken for one, and the interval is honest."""

import numpy as np
import pytest

from benchmarks.trend import trend

HOURS = np.linspace(0, 2, 360)


def wander(seed: int, memory: float = 0.9) -> np.ndarray:
    """Noise that resembles itself, as a process's memory does."""
    noise = np.random.default_rng(seed).normal(0, 1, len(HOURS))
    values = np.zeros(len(HOURS))
    for n in range(1, len(HOURS)):
        values[n] = memory * values[n - 1] + noise[n]
    return values


def test_a_leak_is_found_in_noise():
    line = trend(HOURS, 400 + 5 * HOURS + 0.2 * wander(1))
    assert line.low > 0
    assert line.low <= 5 <= line.high
    share, _, _ = line.share(24)
    assert share == pytest.approx(24 * 5 / 405, rel=0.3)


def test_noise_that_resembles_itself_is_seldom_taken_for_a_trend():
    found = [trend(HOURS, 400 + wander(seed)) for seed in range(200)]
    sure = sum(line.low > 0 or line.high < 0 for line in found)
    assert sure <= 0.12 * len(found)  # a plain regression is sure of over half of them


def test_a_constant_does_not_grow_at_all():
    line = trend(HOURS, np.full(len(HOURS), 33.0))
    assert (line.slope, line.low, line.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_a_handful_of_samples_says_nothing():
    assert trend([1.0] * 10, [2.0] * 10) is None
