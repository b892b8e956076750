"""How far what was heard is from what was said."""

import re
from collections.abc import Iterable


def bare(texts: Iterable[str]) -> list[str]:
    """Sentences without marks and spaces."""
    return [re.sub(r"[\W_]", "", text) for text in texts]


def error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Share of the characters said (first of each pair) that were heard wrongly (second)."""
    pairs = list(pairs)
    return sum(_distance(*pair) for pair in pairs) / sum(len(said) for said, _ in pairs)


def _distance(said: str, heard: str) -> int:
    """Characters to insert, delete or replace (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
