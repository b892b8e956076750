"""Follow the second pass of one stream's sentences: what the offline model gets, and how long a
final waits for it. Pure: time is an argument.

An attempt begins at a pause, in case the sentence ends there, and is discarded when speech resumes.
The final is the streaming text wherever the offline model's is not there in time, and in every part
of a sentence that was cut between two words: the offline model needs whole sentences
(docs/adr/0015-second-pass.md).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from math import inf

from asr_server.asr.sentence_track import SentenceTrack, with_marks
from asr_server.asr.types import SecondPassResult, SecondPassWork, StreamId
from asr_server.audio.ring import Ring
from asr_server.audio.units import SAMPLE_RATE, Samples, from_ms
from asr_server.observability.metrics import SecondPassOutcome as Outcome
from asr_server.recognition import Hypothesis
from asr_server.text.tokens import Token

MAX_SENTENCE: Samples = from_ms(61_000)
"""Audio of the longest sentence that gets a second pass; the ring holds that much."""

BULK_DEADLINE_S = 30.0
"""How long a final of faster-than-realtime audio waits: nobody watches it appear."""

DELIVERY_S = 0.05
"""Share of the deadline that remains for rendering and sending the final: where two busy cores are
all there is, the event loop comes up to 40 ms late."""


@dataclass(frozen=True, slots=True)
class SecondPassJob:
    """Name the audio `[begin, end)` of one sentence of a stream."""

    stream: StreamId
    begin: Samples
    end: Samples

    @property
    def length(self) -> Samples:
        """Return the audio's length."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class SecondPassOptions:
    """Hold when a second pass begins, how long a final waits for it, and who counts outcomes."""

    pause: Samples
    """Silence after which an attempt begins."""
    deadline_s: float
    """Longest time from the endpoint to the final."""
    report: Callable[[Outcome, int, int], None]
    """Counts an outcome, with the characters of the final and how many of them changed."""


@dataclass(slots=True)
class _Attempt:
    """Hold where the second pass of one sentence stands."""

    sentence: SentenceTrack
    job: SecondPassJob
    deadline: float
    """When the final stops waiting; an estimate until the sentence has ended."""
    running: bool = False
    result: SecondPassResult | None = None
    outcome: Outcome | None = None
    """Why the streaming text is the final."""

    @property
    def settled(self) -> bool:
        """Return whether nothing is awaited any more."""
        settled = self.result is not None or self.outcome is not None
        return settled or not _possible(self.sentence)

    @property
    def due(self) -> bool:
        """Return whether it waits to be computed."""
        return not (self.running or self.settled)


class SecondPass:
    """Follow the second pass of all sentences of one stream; without `options` there is none."""

    def __init__(
        self,
        stream: StreamId,
        options: SecondPassOptions | None,
        ring: Ring,
        punctuate: bool,
    ) -> None:
        self._stream = stream
        self._options = options
        self._ring = ring
        self._punctuate = punctuate
        self._attempts: dict[Samples, _Attempt] = {}
        """By the begin of their sentence's audio."""

    # What happens to a sentence -----------------------------------------------------------------

    def update(
        self,
        sentence: SentenceTrack,
        detected: Samples,
        required_silence: Samples,
        now: float,
        live: bool,
    ) -> None:
        """Begin an attempt if the sentence has ended or paused for long enough.

        `detected` is the end of the audio that has passed the VAD; `required_silence` ends a
        sentence.
        """
        options, begin = self._options, sentence.audio_begin
        if options is None or sentence.speech_end is None:
            return
        silence = detected - sentence.speech_end
        if not sentence.ended and silence < options.pause:
            return
        missing = 0 if sentence.ended else max(0, required_silence - silence)
        wait_s = max(0.0, options.deadline_s - DELIVERY_S) if live else BULK_DEADLINE_S
        deadline = now + missing / SAMPLE_RATE + wait_s
        attempt = self._attempts.get(begin)
        if attempt is None or attempt.job.end != sentence.audio_end:
            job = SecondPassJob(self._stream, begin, sentence.audio_end)
            self._attempts[begin] = _Attempt(sentence, job, deadline)
        elif sentence.ended:
            attempt.deadline = deadline

    def resume(self, sentence: SentenceTrack) -> None:
        """Discard the attempt: speech has resumed."""
        attempt = self._attempts.pop(sentence.audio_begin, None)
        if attempt is not None and (attempt.running or attempt.result):
            self._report("discarded")

    # What to compute ----------------------------------------------------------------------------

    @property
    def due(self) -> dict[SecondPassJob, float]:
        """Return the jobs that wait to be computed, and until when their results are of use."""
        return {one.job: one.deadline for one in self._attempts.values() if one.due}

    @property
    def backlog(self) -> Samples:
        """Return how much audio waits to be computed, or is."""
        return sum(one.job.length for one in self._attempts.values() if not one.settled)

    def begin(self, job: SecondPassJob) -> SecondPassWork:
        """Return the work of a job that is due."""
        attempt = self._attempts[job.begin]
        attempt.running = True
        pcm = self._ring.read(job.begin, job.end)
        return SecondPassWork(pcm, self._punctuate, attempt.sentence.words)

    def accept(self, job: SecondPassJob, result: SecondPassResult) -> None:
        """Take the result of a job; one that was discarded or came too late is ignored."""
        attempt = self._attempts.get(job.begin)
        if attempt is not None and attempt.job == job and not attempt.settled:
            attempt.result = result

    def give_up(
        self, outcome: Outcome, jobs: Collection[SecondPassJob] | None = None, before: float = inf
    ) -> None:
        """Settle these jobs, or all of sentences that begin `before`, without a result."""
        for attempt in self._attempts.values():
            chosen = attempt.job.begin < before if jobs is None else attempt.job in jobs
            if chosen and not attempt.settled:
                attempt.outcome = outcome

    # Finals and audio ---------------------------------------------------------------------------

    def waits_until(self, sentence: SentenceTrack) -> float | None:
        """Return until when the final of an ended sentence waits, or None if it is ready."""
        attempt = self._attempts.get(sentence.audio_begin)
        return None if attempt is None or attempt.settled else attempt.deadline

    def finals(self, sentence: SentenceTrack) -> list[Hypothesis]:
        """Return the finals of an ended sentence and count the outcome.

        A text where the offline model found none remains: the client has seen it, and a lost word
        is worse than a spurious one.
        """
        streaming = sentence.finals()
        attempt = self._attempts.pop(sentence.audio_begin, None)
        if attempt is None:
            return streaming
        if not _possible(sentence):
            self._report("skipped")
            return streaming
        if attempt.result is None:
            self._report(attempt.outcome or "late")
            return streaming
        before = _text(streaming)
        if not attempt.result.tokens:
            self._report("empty" if before else "confirmed")
            return streaming
        corrected = sentence.finals(_placed(attempt.result, sentence))
        after = _text(corrected)
        self._report("confirmed" if before == after else "corrected", before, after)
        return corrected

    def needed_from(self, sentence: SentenceTrack) -> Samples:
        """Return from where on a sentence's audio is needed for a second pass."""
        if self._options is None or not _possible(sentence):
            return sentence.audio_end
        attempt = self._attempts.get(sentence.audio_begin)
        if sentence.ended and (attempt is None or attempt.running or attempt.settled):
            return sentence.audio_end
        return sentence.audio_begin

    def _report(self, outcome: Outcome, before: str = "", after: str = "") -> None:
        if self._options is not None:
            self._options.report(outcome, len(after), _changed(before, after))


def _possible(sentence: SentenceTrack) -> bool:
    """Return whether the offline model may get the sentence: it is whole, and not too long."""
    return not sentence.cut and sentence.audio_end - sentence.audio_begin <= MAX_SENTENCE


def _placed(result: SecondPassResult, sentence: SentenceTrack) -> tuple[Token, ...]:
    """Return the tokens of a result with their times in the task, in order, in the sentence."""
    tokens: list[Token] = []
    previous = sentence.speech_begin
    for token in result.tokens:
        begin = min(max(sentence.audio_begin + token.begin, previous), sentence.audio_end)
        previous = min(max(sentence.audio_begin + token.end, begin), sentence.audio_end)
        tokens.append(Token(token.piece, begin, previous, token.confidence))
    return with_marks(tuple(tokens), result.marks)


def _text(finals: Iterable[Hypothesis]) -> str:
    return "".join(token.piece for final in finals for token in final.tokens)


def _changed(before: str, after: str) -> int:
    """Return how many characters were replaced, inserted or removed."""
    if before == after:
        return 0
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return sum(
        max(old_end - old, new_end - new)
        for kind, old, old_end, new, new_end in matcher.get_opcodes()
        if kind != "equal"
    )
