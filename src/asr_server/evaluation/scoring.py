"""Errors of recognised texts: alignment, counts, and the confidence interval of their rate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Literal, cast

import jiwer
import numpy as np

from asr_server.evaluation.normalise import joined, same_digit, units, written_numbers

RESAMPLES = 4000
FEWEST_SPEAKERS = 10
"""With fewer, resampling speakers means little."""
FEWEST_RECORDINGS = 5

Kind = Literal["equal", "substitute", "delete", "insert"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One unit of the alignment; a side is empty where only the other has a unit."""

    kind: Kind
    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class Score:
    """One recording's alignment."""

    edits: tuple[Edit, ...]

    def count(self, kind: Kind) -> int:
        """Return the units of one kind: "insert" counts those only the hypothesis has."""
        return sum(edit.kind == kind for edit in self.edits)

    @property
    def errors(self) -> int:
        """Return the sum of all errors."""
        return sum(edit.kind != "equal" for edit in self.edits)

    @property
    def characters(self) -> int:
        """Return the units of the reference."""
        return sum(edit.kind != "insert" for edit in self.edits)

    @property
    def rate(self) -> float:
        """Return the character error rate; 0 if both texts are empty."""
        return self.errors / max(1, self.characters)

    @property
    def runs(self) -> list[Edit]:
        """Return the alignment as text: neighbours of one kind together."""
        runs = []
        for kind, group in groupby(self.edits, lambda edit: edit.kind):
            part = list(group)
            reference, hypothesis = (e.reference for e in part), (e.hypothesis for e in part)
            runs.append(Edit(kind, joined(reference), joined(hypothesis)))
        return runs


def score(reference: str, hypothesis: str, *, normalise_numbers: bool = False) -> Score:
    """Return the alignment of a hypothesis with its reference.

    With `normalise_numbers` the texts are compared as they are and with all numbers written as
    digits, and the better of the two counts: an error in the middle of a number would otherwise
    count several times.
    """
    plain = align(units(reference), units(hypothesis))
    if not normalise_numbers or not plain.errors:
        return plain
    left, right = (written_numbers(units(text)) for text in (reference, hypothesis))
    written = align(left, right, same_digit)
    return min(plain, written, key=lambda either: either.errors)


def align(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    key: Callable[[str], str] = lambda unit: unit,
) -> Score:
    """Return the shortest alignment of two sequences of units, compared by their keys."""
    if not reference or not hypothesis:
        deleted = (Edit("delete", unit, "") for unit in reference)
        inserted = (Edit("insert", "", unit) for unit in hypothesis)
        return Score((*deleted, *inserted))
    aligned = jiwer.process_words(" ".join(map(key, reference)), " ".join(map(key, hypothesis)))
    edits: list[Edit] = []
    for chunk in aligned.alignments[0]:
        left = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        right = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        pairs = zip_longest(left, right, fillvalue="")
        edits += (Edit(cast(Kind, chunk.type), one, other) for one, other in pairs)
    return Score(tuple(edits))


def confidence_interval(
    scores: Sequence[Score], speakers: Sequence[str | None]
) -> tuple[float, float] | None:
    """Return the 95 % interval of the error rate, by bootstrap (Bisani and Ney, 2004).

    Whole speakers are drawn where at least ten are known, since one speaker's errors correlate;
    otherwise recordings, at least five. Without a single error the interval ends at 3 / characters
    (the rule of three).
    """
    errors = np.array([one.errors for one in scores], np.int64)
    characters = np.array([one.characters for one in scores], np.int64)
    if not errors.any():
        return 0.0, min(1.0, 3 / max(1, int(characters.sum())))
    if len(scores) < FEWEST_RECORDINGS:
        return None
    named = [speaker for speaker in speakers if speaker]
    names, owner = np.unique(named, return_inverse=True)
    if len(named) == len(speakers) and len(names) >= FEWEST_SPEAKERS:
        errors = np.bincount(owner, errors).astype(np.int64)
        characters = np.bincount(owner, characters).astype(np.int64)
    rng = np.random.default_rng(0)
    rates = [
        errors[drawn].sum() / max(1, characters[drawn].sum())
        for drawn in (rng.integers(len(errors), size=len(errors)) for _ in range(RESAMPLES))
    ]
    low, high = np.percentile(rates, (2.5, 97.5))
    return float(low), float(high)
