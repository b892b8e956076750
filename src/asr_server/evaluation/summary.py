"""The figures of a data set, for the table, the page and the JSON."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr_client.types import Sentence
from asr_server.evaluation.calibration import Bin, Prediction, binned, calibration_error
from asr_server.evaluation.data_sets import DataSet
from asr_server.evaluation.normalise import units
from asr_server.evaluation.scoring import Score, confidence_interval
from asr_server.recordings.manifest import Utterance

MOST_CONFUSIONS = 20


@dataclass(frozen=True, slots=True)
class Scored:
    """A recognised recording."""

    utterance: Utterance
    sentences: Sequence[Sentence]
    score: Score
    word_predictions: Sequence[Prediction]
    sentence_predictions: Sequence[Prediction]
    duration_s: float
    tail_s: float | None = None
    """Time from the last audio that was sent to the end of the task."""


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """A recording that could not be recognised, and why."""

    utterance: Utterance
    reason: str


@dataclass(frozen=True, slots=True)
class Confusion:
    """A substitution, deletion (no hypothesis) or insertion (no reference), and its count."""

    reference: str
    hypothesis: str
    count: int


@dataclass(frozen=True, slots=True)
class Speaker:
    """The errors of one speaker."""

    name: str
    recordings: int
    characters: int
    errors: int
    cer: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Errors of times in ms: the median and the 95th percentile."""

    median: float
    p95: float


@dataclass(frozen=True)
class Summary:
    """One data set; the fields are those of the JSON, in its order."""

    name: str
    recordings: int
    """The recognised ones."""
    characters: int
    cer: float
    cer_95_percent: tuple[float, float] | None
    """95 % interval of the error rate; None with too few recordings."""
    substitutions: int
    deletions: int
    insertions: int
    recordings_with_errors: int
    recordings_without_transcript: int
    audio_s: float
    took_s: float
    rtf: float
    """Real-time factor: seconds for a second of audio, all streams together."""
    word_ece: float | None
    """Expected calibration error, or None without confidences."""
    sentence_ece: float | None
    word_reliability: Sequence[Bin]
    sentence_reliability: Sequence[Bin]
    word_times_ms: Timing | None
    """Begin and end of words in recordings without an error, where the data set has the times."""
    bounds_ms: Timing | None
    """Begin and end of the speech, of recordings recognised as one sentence."""
    confusions: Sequence[Confusion]
    """The most frequent first."""
    speakers: Sequence[Speaker]
    """The worst first; none without speakers in the data set."""
    failed: Sequence[Unrecognised]
    results: Sequence[Scored]

    @property
    def worst(self) -> list[Scored]:
        """Return the recordings with errors, those with the most first."""
        wrong = [one for one in self.results if one.score.errors]
        return sorted(wrong, key=lambda one: (-one.score.errors, -one.score.rate))


def summarise(
    data_set: DataSet, scored: Sequence[Scored], failed: Sequence[Unrecognised], took_s: float
) -> Summary:
    """Return the figures of a data set whose recognition took so many seconds."""
    scores = [one.score for one in scored]
    total = Score(tuple(edit for score in scores for edit in score.edits))
    audio_s = sum(one.duration_s for one in scored)
    words = binned([p for one in scored for p in one.word_predictions])
    sentences = binned([p for one in scored for p in one.sentence_predictions])
    confusions = Counter((e.reference, e.hypothesis) for e in total.edits if e.kind != "equal")
    return Summary(
        name=data_set.name,
        recordings=len(scored),
        characters=total.characters,
        cer=total.rate,
        cer_95_percent=confidence_interval(scores, [one.utterance.speaker for one in scored]),
        substitutions=total.count("substitute"),
        deletions=total.count("delete"),
        insertions=total.count("insert"),
        recordings_with_errors=sum(one.errors > 0 for one in scores),
        recordings_without_transcript=data_set.left_out,
        audio_s=audio_s,
        took_s=took_s,
        rtf=took_s / max(1e-9, audio_s),
        word_ece=calibration_error(words),
        sentence_ece=calibration_error(sentences),
        word_reliability=words,
        sentence_reliability=sentences,
        word_times_ms=_timing([error for one in scored for error in _word_times(one)]),
        bounds_ms=_timing([error for one in scored for error in _bounds(one)]),
        confusions=[Confusion(*pair, n) for pair, n in confusions.most_common(MOST_CONFUSIONS)],
        speakers=_speakers(scored),
        failed=failed,
        results=scored,
    )


def _speakers(scored: Sequence[Scored]) -> list[Speaker]:
    scores: dict[str, list[Score]] = defaultdict(list)
    for one in scored:
        if one.utterance.speaker:
            scores[one.utterance.speaker].append(one.score)
    speakers = []
    for name, theirs in scores.items():
        characters, errors = sum(s.characters for s in theirs), sum(s.errors for s in theirs)
        speakers.append(Speaker(name, len(theirs), characters, errors, errors / max(1, characters)))
    return sorted(speakers, key=lambda speaker: -speaker.cer)


def _word_times(scored: Scored) -> Iterator[int]:
    truth = scored.utterance.characters
    if scored.score.errors or len(truth) != scored.score.characters:
        return
    position = 0
    for word in (word for sentence in scored.sentences for word in sentence.words):
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
