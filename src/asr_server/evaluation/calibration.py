"""Whether confidences keep their word: of the words said to be 80 % sure, 80 % should be right."""

from collections.abc import Sequence
from dataclasses import dataclass

from asr_server.evaluation.normalise import units
from asr_server.evaluation.scoring import Score
from asr_server.protocol.events import Sentence

BINS = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """A confidence and what came of it."""

    confidence: float
    right: float
    """1 or 0 for a word; for a sentence, the share of its characters."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Everything whose confidence lies in one tenth of the scale."""

    count: int
    confidence: float
    """Mean of it."""
    right: float
    """Mean of it."""


def judge(sentences: Sequence[Sentence], score: Score) -> tuple[list[Judged], list[Judged]]:
    """The words and the sentences of a recording; none where no confidences came.

    A word is as sure as the server says and right if all of its characters are. A sentence is as
    sure as its characters in the mean. Characters that were missed have no confidence, so they do
    not count here.
    """
    right = [edit.kind == "equal" for edit in score.edits if edit.heard]
    words: list[Judged] = []
    whole: list[Judged] = []
    position = 0
    for sentence in sentences:
        sizes = [len(units(word.text)) for word in sentence.words]
        total, sure, good = 0, 0.0, 0
        for word, size in zip(sentence.words, sizes, strict=True):
            hits = right[position : position + size]
            position += size
            if word.confidence is None or not hits:
                continue
            words.append(Judged(word.confidence, float(all(hits))))
            total, sure, good = total + size, sure + size * word.confidence, good + sum(hits)
        if total:
            whole.append(Judged(sure / total, good / total))
    if position != len(right):  # the words do not make up the text
        return [], []
    return words, whole


def binned(judged: Sequence[Judged]) -> list[Bin]:
    """Ten bins of equal width, the least sure first."""
    bins = []
    for index in range(BINS):
        inside = [j for j in judged if min(int(j.confidence * BINS), BINS - 1) == index]
        size = max(1, len(inside))
        bins.append(
            Bin(
                len(inside),
                sum(j.confidence for j in inside) / size,
                sum(j.right for j in inside) / size,
            )
        )
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the mean distance of confidence and truth (Guo et al., 2017)."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.confidence - one.right) for one in bins) / max(1, total)


def pooled(many: Sequence[Sequence[Bin]]) -> list[Bin]:
    """The bins of several data sets as if they were one."""
    together = []
    for bins in zip(*many, strict=True):
        count = sum(one.count for one in bins)
        size = max(1, count)
        together.append(
            Bin(
                count,
                sum(one.count * one.confidence for one in bins) / size,
                sum(one.count * one.right for one in bins) / size,
            )
        )
    return together
