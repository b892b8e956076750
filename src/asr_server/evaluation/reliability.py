"""The reliability diagram: the share of correct words and characters at each confidence."""

import io
import math
from collections.abc import Sequence
from typing import Any

from asr_server.evaluation.calibration import BINS, Bin, binned, calibration_error
from asr_server.evaluation.summary import Summary

COLOUR, COUNT_COLOUR = "#2f6fdb", "#9aa4af"


def reliability_diagram(summaries: Sequence[Summary], format: str) -> bytes | None:
    """Return words on the left and sentences on the right, of all data sets, as a PNG or an SVG.

    None without confidences.
    """
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    scored = [one for summary in summaries for one in summary.results]
    words = binned([p for one in scored for p in one.word_predictions])
    sentences = binned([p for one in scored for p in one.sentence_predictions])
    figure = Figure(figsize=(8.4, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, height_ratios=(5, 1))
    panels = (("Words", "words", words), ("Sentences", "characters", sentences))
    for (title, unit, bins), (upper, lower) in zip(panels, axes.T, strict=True):
        ece = calibration_error(bins)
        if ece is None:
            return None
        total = sum(one.count for one in bins)
        upper.set_title(f"{title}: ECE {ece:.3f}, n = {total:,}", loc="left", fontsize=10)
        upper.set_ylabel(f"share of correct {unit}")
        _panel(upper, lower, bins)
    image = io.BytesIO()
    figure.savefig(image, format=format, dpi=110)
    return image.getvalue()


def _panel(upper: Any, lower: Any, bins: Sequence[Bin]) -> None:
    """Draw accuracy with its 95 % interval above, counts below."""
    left = [index / BINS for index in range(BINS)]
    filled = [one for one in bins if one.count]
    upper.bar(left, [b.right for b in bins], 1 / BINS, align="edge", color=COLOUR, alpha=0.28)
    upper.plot([0, 1], [0, 1], "--", color=COUNT_COLOUR, lw=1)
    upper.plot([b.confidence for b in filled], [b.right for b in filled], "o", ms=4, color=COLOUR)
    for one in filled:
        upper.vlines(one.confidence, *wilson(one.right, one.count), color=COLOUR, lw=1.5)
    upper.set(xlim=(0, 1), ylim=(0, 1))
    lower.bar(left, [b.count for b in bins], 1 / BINS, align="edge", color=COUNT_COLOUR)
    lower.set(yscale="log", xlabel="confidence", ylabel="count")
    lower.set_ylim(bottom=0.5)
    for axes in (upper, lower):
        axes.grid(alpha=0.25)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` (Wilson, 1927)."""
    z = 1.96
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
