"""The figures of a data set, for the table, the page and the JSON."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr_server.evaluation.calibration import Bin, binned, calibration_error
from asr_server.evaluation.normalise import units
from asr_server.evaluation.running import Outcome, Scored, Unrecognised
from asr_server.evaluation.scoring import Score, confidence_interval, total

MOST_CONFUSIONS = 20


@dataclass(frozen=True, slots=True)
class Confusion:
    """A substitution, deletion or insertion, and its count."""

    reference: str
    """Empty for an insertion."""
    hypothesis: str
    """Empty for a deletion."""
    count: int


@dataclass(frozen=True, slots=True)
class Speaker:
    """The errors of one speaker."""

    name: str
    recordings: int
    total: Score


@dataclass(frozen=True, slots=True)
class Timing:
    """Errors of times in ms: the median and the 95th percentile."""

    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One data set."""

    name: str
    scored: tuple[Scored, ...]
    failed: tuple[Unrecognised, ...]
    left_out: int
    total: Score
    """The alignments of all recordings as one."""
    interval: tuple[float, float] | None
    """95 % interval of the error rate; None with too few recordings."""
    wrong: int
    """Recordings with an error."""
    audio_s: float
    took_s: float
    confusions: tuple[Confusion, ...]
    """The most frequent first."""
    speakers: tuple[Speaker, ...]
    """The worst first; none without speakers in the data set."""
    words: tuple[Bin, ...]
    sentences: tuple[Bin, ...]
    word_times: Timing | None
    """Begin and end of words in recordings without an error, where the data set has the times."""
    bounds: Timing | None
    """Begin and end of the speech, of recordings recognised as one sentence."""

    @property
    def cer(self) -> float:
        """Return the character error rate."""
        return self.total.rate

    @property
    def rtf(self) -> float:
        """Return the real-time factor: seconds for a second of audio, all streams together."""
        return self.took_s / max(1e-9, self.audio_s)

    @property
    def word_ece(self) -> float | None:
        """Return the expected calibration error of words, or None without confidences."""
        return calibration_error(self.words) if any(b.count for b in self.words) else None

    @property
    def sentence_ece(self) -> float | None:
        """Return the same of sentences."""
        return calibration_error(self.sentences) if any(b.count for b in self.sentences) else None

    @property
    def worst(self) -> list[Scored]:
        """Return the recordings with errors, those with the most first."""
        wrong = [one for one in self.scored if one.score.errors]
        return sorted(wrong, key=lambda one: (-one.score.errors, -one.score.rate))


def summarise(outcome: Outcome) -> Summary:
    """Return the figures of an outcome."""
    scored = outcome.scored
    scores = [one.score for one in scored]
    return Summary(
        name=outcome.name,
        scored=scored,
        failed=outcome.failed,
        left_out=outcome.left_out,
        total=total(scores),
        interval=confidence_interval(scores, [one.utterance.speaker for one in scored]),
        wrong=sum(one.errors > 0 for one in scores),
        audio_s=sum(one.duration_s for one in scored),
        took_s=outcome.took_s,
        confusions=tuple(_confusions(scored)),
        speakers=tuple(_speakers(scored)),
        words=tuple(binned([p for one in scored for p in one.word_predictions])),
        sentences=tuple(binned([p for one in scored for p in one.sentence_predictions])),
        word_times=_timing([error for one in scored for error in _word_times(one)]),
        bounds=_timing([error for one in scored for error in _bounds(one)]),
    )


def _confusions(scored: Sequence[Scored]) -> Iterator[Confusion]:
    counted = Counter(
        (edit.reference, edit.hypothesis)
        for one in scored
        for edit in one.score.edits
        if edit.kind != "equal"
    )
    for (reference, hypothesis), count in counted.most_common(MOST_CONFUSIONS):
        yield Confusion(reference, hypothesis, count)


def _speakers(scored: Sequence[Scored]) -> list[Speaker]:
    scores: dict[str, list[Score]] = {}
    for one in scored:
        if one.utterance.speaker:
            scores.setdefault(one.utterance.speaker, []).append(one.score)
    speakers = [Speaker(name, len(theirs), total(theirs)) for name, theirs in scores.items()]
    return sorted(speakers, key=lambda speaker: -speaker.total.rate)


def _word_times(scored: Scored) -> Iterator[int]:
    truth = scored.utterance.characters
    if scored.score.errors or len(truth) != scored.score.characters:
        return
    position = 0
    for sentence in scored.sentences:
        for word in sentence.words:
            if size := len(units(word.text)):
                yield abs(word.begin_ms - truth[position].begin_ms)
                yield abs(word.end_ms - truth[position + size - 1].end_ms)
            position += size


def _bounds(scored: Scored) -> Iterator[int]:
    truth = scored.utterance.characters
    if truth and len(scored.sentences) == 1:
        yield abs(scored.sentences[0].begin_ms - truth[0].begin_ms)
        yield abs((scored.sentences[0].end_ms or 0) - truth[-1].end_ms)


def _timing(errors_ms: Sequence[int]) -> Timing | None:
    if len(errors_ms) < 2:
        return None
    return Timing(statistics.median(errors_ms), statistics.quantiles(errors_ms, n=20)[-1])
