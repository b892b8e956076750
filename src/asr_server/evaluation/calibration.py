"""Calibration of confidences: of the words with a confidence of 0.8, 80 % should be right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_client.types import Sentence
from asr_server.evaluation.normalise import units
from asr_server.evaluation.scoring import Score

BINS = 10


@dataclass(frozen=True, slots=True)
class Prediction:
    """A confidence and the outcome."""

    confidence: float
    right: float
    """1 or 0 for a word; for a sentence, the share of its characters."""


@dataclass(frozen=True, slots=True)
class Bin:
    """The predictions in one tenth of the confidence scale: their number and means."""

    count: int
    confidence: float
    right: float


def predictions(
    sentences: Sequence[Sentence], score: Score
) -> tuple[list[Prediction], list[Prediction]]:
    """Return the words' and the sentences' predictions of a recording; none without confidences.

    A word is right if all of its characters are. A sentence's confidence is the mean over its
    characters. Deleted characters have no confidence, so they do not count here.
    """
    right = [edit.kind == "equal" for edit in score.edits if edit.hypothesis]
    words: list[Prediction] = []
    whole: list[Prediction] = []
    position = 0
    for sentence in sentences:
        sizes = [len(units(word.text)) for word in sentence.words]
        total, confidence, hits = 0, 0.0, 0
        for word, size in zip(sentence.words, sizes, strict=True):
            outcomes = right[position : position + size]
            position += size
            if word.confidence is None or not outcomes:
                continue
            words.append(Prediction(word.confidence, float(all(outcomes))))
            total, hits = total + size, hits + sum(outcomes)
            confidence += size * word.confidence
        if total:
            whole.append(Prediction(confidence / total, hits / total))
    if position != len(right):  # the words do not make up the text
        return [], []
    return words, whole


def binned(predicted: Sequence[Prediction]) -> list[Bin]:
    """Return ten bins of equal width, the lowest confidence first."""
    values = np.array([(p.confidence, p.right) for p in predicted]).reshape(-1, 2)
    bins = np.minimum((values[:, 0] * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    means = [np.bincount(bins, own, BINS) / np.maximum(counts, 1) for own in values.T]
    return [Bin(*row) for row in zip(counts.tolist(), *(m.tolist() for m in means), strict=True)]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Return the expected calibration error: mean |confidence - accuracy| (Guo et al., 2017).

    None without predictions.
    """
    total = sum(one.count for one in bins)
    error = sum(one.count * abs(one.confidence - one.right) for one in bins)
    return error / total if total else None
