"""Compare two runs of a data set, without and with the second pass."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_server.evaluation.normalise import joined, units
from asr_server.evaluation.summary import Scored, Summary
from asr_server.recordings.files import RecordingError
from asr_server.text.hotwords import check

DEFAULT_WEIGHT = 4


@dataclass(frozen=True, slots=True)
class Recall:
    """Hold how many of the hotwords in the transcripts were recognised."""

    spoken: int
    recognised: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Hold what the second pass changes; each pair is without and with it."""

    name: str
    cer: tuple[float, float]
    sentences: int
    changed_sentences: int
    tail_s: tuple[float, float] | None
    """Median time from the last audio that was sent to the end of the task."""
    hotwords: tuple[Recall, Recall] | None
    """None without a list."""


def compare_runs(
    without: Iterable[Summary], corrected: Iterable[Summary], hotwords: Iterable[str] = ()
) -> list[Comparison]:
    """Return what changed between two runs of the same data sets."""
    words = list(hotwords)
    return [_compare(*pair, words) for pair in zip(without, corrected, strict=True)]


def _compare(without: Summary, corrected: Summary, words: Sequence[str]) -> Comparison:
    """Compare what both runs recognised."""
    before = {one.utterance.id: one for one in without.results}
    pairs = [
        (before[one.utterance.id], one) for one in corrected.results if one.utterance.id in before
    ]
    changed = [_changed(*pair) for pair in pairs]
    return Comparison(
        corrected.name,
        (without.cer, corrected.cer),
        sum(len(one.sentences) for _, one in pairs),
        sum(changed),
        _medians(pairs),
        (recall(without, words), recall(corrected, words)) if words else None,
    )


def recall(summary: Summary, hotwords: Iterable[str]) -> Recall:
    """Return how many occurrences of the words were recognised."""
    spoken = recognised = 0
    words = [_plain(word) for word in hotwords]
    for one in summary.results:
        reference = _plain(one.utterance.text)
        hypothesis = _plain(" ".join(sentence.text for sentence in one.sentences))
        for word in words:
            count = reference.count(word)
            spoken += count
            recognised += min(count, hypothesis.count(word))
    return Recall(spoken, recognised)


def read_hotwords(path: Path) -> Mapping[str, int]:
    """Return the words of a file, one a line, each with its weight or 4.

    Raises RecordingError with the line at fault.
    """
    words: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path} cannot be read as UTF-8 text") from error
    for number, line in enumerate(lines, start=1):
        word, _, weight = line.strip().rpartition("\t" if "\t" in line else " ")
        if not word or not weight.isdecimal():
            word, weight = line.strip(), str(DEFAULT_WEIGHT)
        if not word:
            continue
        try:
            check(word.strip(), int(weight))
        except ValueError as error:
            raise RecordingError(f"{path}, line {number}: {error}") from error
        words[word.strip()] = int(weight)
    if not words:
        raise RecordingError(f"{path} contains no word")
    return words


def _plain(text: str) -> str:
    return joined(units(text))


def _changed(before: Scored, after: Scored) -> int:
    """Return how many sentences differ; one that only one run has counts too."""
    old, new = ([sentence.text for sentence in one.sentences] for one in (before, after))
    return sum(a != b for a, b in zip(old, new, strict=False)) + abs(len(old) - len(new))


def _medians(pairs: Sequence[tuple[Scored, Scored]]) -> tuple[float, float] | None:
    tails = [
        [one.tail_s for one in run if one.tail_s is not None] for run in zip(*pairs, strict=True)
    ]
    if len(tails) < 2 or not all(tails):
        return None
    return statistics.median(tails[0]), statistics.median(tails[1])
