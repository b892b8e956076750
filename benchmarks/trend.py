"""Fit a line to a figure over time by batch means, with a confidence interval of the slope.

Successive samples of a process are correlated, and a regression that takes them for independent
gives far too narrow an interval. Means of batches longer than the correlation are nearly
independent: the batches grow until the residuals of the line show no positive correlation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_BATCHES, MIN_BATCHES = 16, 8
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Trend:
    """Hold a fitted line, in the figure's unit."""

    mean: float
    slope: float
    """Per unit of x."""
    low: float
    high: float
    """95 % confidence interval of the slope."""
    intercept: float
    batches: int

    def growth(self, span: float) -> tuple[float, float, float]:
        """Return the growth over a span of x and its interval, as shares of the mean."""
        scale = span / self.mean if self.mean else 0.0
        return self.slope * scale, self.low * scale, self.high * scale


def trend(x: Sequence[float], y: Sequence[float]) -> Trend | None:
    """Return the trend of samples in the order of x, or None where they are too few."""
    if len(x) < 2 * MIN_BATCHES:
        return None
    from scipy import stats  # takes a second

    for batches in range(min(MAX_BATCHES, len(x) // 2), MIN_BATCHES - 1, -1):
        at = np.array([part.mean() for part in np.array_split(np.asarray(x, float), batches)])
        means = np.array([part.mean() for part in np.array_split(np.asarray(y, float), batches)])
        line = stats.linregress(at, means)
        if _lag_1_correlation(means - line.intercept - line.slope * at) <= 0:
            break
    error = float(np.nan_to_num(line.stderr))  # not a number where nothing varies
    margin = float(stats.t.ppf(0.5 + CONFIDENCE / 2, batches - 2)) * error
    return Trend(
        float(np.mean(y)),
        float(line.slope),
        float(line.slope - margin),
        float(line.slope + margin),
        float(line.intercept),
        batches,
    )


def _lag_1_correlation(residuals: np.ndarray) -> float:
    power = float(np.sum(residuals**2))
    return float(np.sum(residuals[1:] * residuals[:-1])) / power if power else 0.0
