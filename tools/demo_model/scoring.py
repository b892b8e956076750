"""Character error rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of errors and of characters and sentences, which add up."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    characters: int = 0
    sentences: int = 0
    wrong_sentences: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            *(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__)
        )

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        return self.errors / max(self.characters, 1)

    def __str__(self) -> str:
        return (
            f"CER {self.rate:.2%} (S {self.substitutions} D {self.deletions} "
            f"I {self.insertions} of {self.characters}), "
            f"{self.wrong_sentences} of {self.sentences} sentences wrong"
        )


def score(reference: Sequence[Any], read: Sequence[Any]) -> Score:
    """Count the edits of the shortest alignment."""
    # Each cell: (cost, substitutions, deletions, insertions).
    row = [(j, 0, 0, j) for j in range(len(read) + 1)]
    for i, expected in enumerate(reference, 1):
        above, row = row, [(i, 0, i, 0)]
        for j, got in enumerate(read, 1):
            cost, s, d, n = above[j - 1]
            differs = int(expected != got)
            best = (cost + differs, s + differs, d, n)
            cost, s, d, n = above[j]
            best = min(best, (cost + 1, s, d + 1, n))
            cost, s, d, n = row[j - 1]
            row.append(min(best, (cost + 1, s, d, n + 1)))
    cost, s, d, n = row[-1]
    return Score(s, d, n, len(reference), 1, int(cost > 0))
