"""Whether a figure grows: a line through means of blocks, with an honest interval.

Samples of a process that are taken one after another resemble each other, and a regression that
takes them for independent is far too sure. Means of blocks that are longer than that resemblance
are nearly independent: the blocks are made longer until what is left of the line in them is not
alike any more (batch means, as simulations use them).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

MOST_BLOCKS, FEWEST_BLOCKS = 16, 8
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through what was seen; in the figure's unit."""

    mean: float
    slope: float
    """Per unit of x."""
    low: float
    high: float
    """95 of 100 such intervals hold the true slope."""
    intercept: float
    blocks: int

    def share(self, span: float) -> tuple[float, float, float]:
        """Growth over a span of x, and its interval, as shares of the mean."""
        scale = span / self.mean if self.mean else 0.0
        return self.slope * scale, self.low * scale, self.high * scale


def trend(x: Sequence[float], y: Sequence[float]) -> Trend | None:
    """The trend of samples in the order of x, or None where they are too few."""
    if len(x) < 2 * FEWEST_BLOCKS:
        return None
    most = min(MOST_BLOCKS, len(x) // 2)
    for blocks in range(most, FEWEST_BLOCKS - 1, -1):
        at = np.array([part.mean() for part in np.array_split(np.asarray(x, float), blocks)])
        means = np.array([part.mean() for part in np.array_split(np.asarray(y, float), blocks)])
        line = stats.linregress(at, means)
        left = means - line.intercept - line.slope * at
        if _resemblance(left) <= 0:
            break
    error = float(np.nan_to_num(line.stderr))  # not a number where nothing varies
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, blocks - 2)) * error
    return Trend(
        float(np.mean(y)),
        float(line.slope),
        float(line.slope - reach),
        float(line.slope + reach),
        float(line.intercept),
        blocks,
    )


def _resemblance(left: np.ndarray) -> float:
    """Correlation of neighbours."""
    power = float(np.sum(left**2))
    return float(np.sum(left[1:] * left[:-1])) / power if power else 0.0
