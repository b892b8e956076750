"""The number of streams to try next. Pure.

Doubling and halving finds the most that holds in some 2 log2(n) tries; even steps take longer and
show the whole curve. Latency does not fall when streams are added, apart from noise: so a number
above one that broke is never tried.
"""

from collections.abc import Mapping

Tried = Mapping[int, bool]
"""Numbers of streams and whether all goals were kept."""

GAP = 0.05
"""The search ends when the numbers that held and broke are this close, as a share."""


def binary(tried: Tried, first: int, most: int) -> int | None:
    """Return double the number until one breaks, then halve the gap; None when it is narrow."""
    best, broken = held(tried), _broken(tried)
    if not tried:
        return min(first, most)
    if broken is None:
        return min(2 * best, most) if best < most else None
    gap = broken - best
    return best + gap // 2 if gap > max(1, GAP * broken) else None


def linear(tried: Tried, step: int, most: int) -> int | None:
    """Return the number one step higher until one breaks."""
    best = held(tried)
    return best + step if _broken(tried) is None and best + step <= most else None


def held(tried: Tried) -> int:
    """Return the most streams that held, below the least that broke; 0 if none did."""
    broken = _broken(tried)
    return max((n for n, ok in tried.items() if ok and (broken is None or n < broken)), default=0)


def _broken(tried: Tried) -> int | None:
    return min((n for n, ok in tried.items() if not ok), default=None)
