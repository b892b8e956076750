"""The trend finds a leak, takes no noise for one, and has an interval of the stated confidence."""

import numpy as np
import pytest

from benchmarks.trend import trend

HOURS = np.linspace(0, 2, 360)


def correlated_noise(seed: int, correlation: float = 0.9) -> np.ndarray:
    """Return noise of an AR(1) process, similar to a process's memory."""
    noise = np.random.default_rng(seed).normal(0, 1, len(HOURS))
    values = np.zeros(len(HOURS))
    for n in range(1, len(HOURS)):
        values[n] = correlation * values[n - 1] + noise[n]
    return values


def test_a_leak_is_found_in_noise():
    line = trend(HOURS, 400 + 5 * HOURS + 0.2 * correlated_noise(1))
    assert line.low > 0
    assert line.low <= 5 <= line.high
    share, _, _ = line.growth(24)
    assert share == pytest.approx(24 * 5 / 405, rel=0.3)


def test_correlated_noise_is_seldom_taken_for_a_trend():
    lines = [trend(HOURS, 400 + correlated_noise(seed)) for seed in range(200)]
    significant = sum(line.low > 0 or line.high < 0 for line in lines)
    assert significant <= 0.12 * len(lines)  # plain regression: more than half


def test_a_constant_has_no_growth():
    line = trend(HOURS, np.full(len(HOURS), 33.0))
    assert (line.slope, line.low, line.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_few_samples_have_no_trend():
    assert trend([1.0] * 10, [2.0] * 10) is None
