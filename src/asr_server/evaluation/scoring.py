"""Errors of recognised texts: alignment, counts, and how sure a rate of so few recordings is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, cast

import jiwer
import numpy as np

from asr_server.evaluation.normalise import joined, same_digit, units, written_numbers

RESAMPLES = 4000
FEWEST_SPEAKERS = 10
"""With fewer, resampling speakers says nothing."""
FEWEST_RECORDINGS = 5

Kind = Literal["equal", "substitute", "delete", "insert"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One unit of the alignment; `said` or `heard` is empty where the other has nothing."""

    kind: Kind
    said: str
    heard: str


@dataclass(frozen=True, slots=True)
class Score:
    """One recording's alignment."""

    edits: tuple[Edit, ...]

    @property
    def substitutions(self) -> int:
        """Units heard as others."""
        return self._count("substitute")

    @property
    def deletions(self) -> int:
        """Units not heard."""
        return self._count("delete")

    @property
    def insertions(self) -> int:
        """Units heard that were not said."""
        return self._count("insert")

    @property
    def errors(self) -> int:
        """All of them."""
        return sum(edit.kind != "equal" for edit in self.edits)

    @property
    def characters(self) -> int:
        """Units said."""
        return sum(edit.kind != "insert" for edit in self.edits)

    @property
    def rate(self) -> float:
        """Character error rate; 0 where nothing was said and nothing heard."""
        return self.errors / max(1, self.characters)

    @property
    def runs(self) -> list[Edit]:
        """The alignment as text: neighbours of one kind together."""
        return [
            Edit(kind, joined(e.said for e in part), joined(e.heard for e in part))
            for kind, part in (
                (kind, list(group)) for kind, group in groupby(self.edits, lambda edit: edit.kind)
            )
        ]

    def _count(self, kind: Kind) -> int:
        return sum(edit.kind == kind for edit in self.edits)


def score(said: str, heard: str, *, normalise_numbers: bool = False) -> Score:
    """Align what was heard with what was said.

    With `normalise_numbers` the texts are compared as they are and with all numbers written as
    digits, and the better of the two counts: an error in the middle of a number would otherwise
    count several times.
    """
    plain = align(units(said), units(heard))
    if not normalise_numbers or not plain.errors:
        return plain
    written = align(written_numbers(units(said)), written_numbers(units(heard)), same_digit)
    return min(plain, written, key=lambda either: either.errors)


def align(
    said: Sequence[str], heard: Sequence[str], key: Callable[[str], str] = lambda unit: unit
) -> Score:
    """The shortest alignment of two sequences of units, compared by their keys."""
    if not said or not heard:
        return Score(
            (*(Edit("delete", unit, "") for unit in said), *(Edit("insert", "", u) for u in heard))
        )
    aligned = jiwer.process_words(" ".join(map(key, said)), " ".join(map(key, heard)))
    edits: list[Edit] = []
    for chunk in aligned.alignments[0]:
        left = said[chunk.ref_start_idx : chunk.ref_end_idx]
        right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        for index in range(max(len(left), len(right))):
            edits.append(
                Edit(
                    cast(Kind, chunk.type),
                    left[index] if index < len(left) else "",
                    right[index] if index < len(right) else "",
                )
            )
    return Score(tuple(edits))


def confidence_interval(
    scores: Sequence[Score], speakers: Sequence[str | None]
) -> tuple[float, float] | None:
    """The 95 % interval of the error rate, by bootstrap (Bisani and Ney, 2004).

    Whole speakers are drawn where at least ten are known, since one speaker's errors go together;
    otherwise recordings; fewer than five say nothing. Without a single error it ends at 3 in as
    many characters (the rule of three).
    """
    errors = np.array([one.errors for one in scores], np.int64)
    characters = np.array([one.characters for one in scores], np.int64)
    if not errors.any():
        return 0.0, min(1.0, 3 / max(1, int(characters.sum())))
    if len(scores) < FEWEST_RECORDINGS:
        return None
    names = sorted({speaker for speaker in speakers if speaker})
    if None not in speakers and len(names) >= FEWEST_SPEAKERS:
        place = {name: index for index, name in enumerate(names)}
        owner = np.array([place[speaker] for speaker in speakers if speaker])
        errors = np.bincount(owner, errors).astype(np.int64)
        characters = np.bincount(owner, characters).astype(np.int64)
    rng = np.random.default_rng(0)
    rates = [
        errors[drawn].sum() / max(1, characters[drawn].sum())
        for drawn in (rng.integers(len(errors), size=len(errors)) for _ in range(RESAMPLES))
    ]
    low, high = np.percentile(rates, (2.5, 97.5))
    return float(low), float(high)
