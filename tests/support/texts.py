"""Measure the distance between reference and hypothesis."""

import re
from collections.abc import Iterable


def bare(texts: Iterable[str]) -> list[str]:
    """Return sentences without marks and spaces."""
    return [re.sub(r"[\W_]", "", text) for text in texts]


def error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the character error rate of (reference, hypothesis) pairs."""
    pairs = list(pairs)
    return sum(_distance(*pair) for pair in pairs) / sum(len(reference) for reference, _ in pairs)


def _distance(reference: str, hypothesis: str) -> int:
    """Return the number of insertions, deletions and substitutions (Levenshtein)."""
    row = list(range(len(hypothesis) + 1))
    for i, a in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(hypothesis, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
