"""From the clients' records to figures. Pure arithmetic; times in seconds.

first text  from the due time of the frame with the first sample of a sentence's speech to the
            first text of that sentence
final       from the due time of the frame with its last sample of speech to its final: the silence
            that ends the sentence is part of it
tail        from finish-task to task-finished

Frames count from when they were due, not from when the socket took them: time that a frame waits
for a server that does not read is latency of the server.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from os.path import commonprefix

import numpy as np

from asr_server.latency_goals import FINAL_S, FIRST_TEXT_S, TAIL_S
from asr_server.load.recordings import FRAME_S, Speech
from asr_server.load.task_record import Result, TaskRecord
from asr_server.protocol.models import PARAFORMER


@dataclass(frozen=True, slots=True)
class Latency:
    """A latency and the due time that it counts from."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Goals:
    """Upper bounds for 95 of 100 latencies, in seconds."""

    first_text_s: float = FIRST_TEXT_S
    final_s: float = PARAFORMER.max_sentence_silence_ms / 1000 + FINAL_S
    """`max_sentence_silence` included."""
    tail_s: float = TAIL_S
    late_s: float = 0.05
    """For 99 of 100 frames, and for the load generator itself: if it sends later, its figures
    describe the load generator more than the server."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of a latency, in seconds; None without a measurement."""

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a number of clients in a period of time."""

    seconds: float
    first_text: Percentiles
    final: Percentiles
    tail: Percentiles
    finished: int
    refused: int
    failed: dict[str, int]
    """Tasks by error."""
    shown: int
    """Characters in results."""
    revised: int
    """Those of them that a later result of the same sentence replaced."""
    late: Percentiles
    """How late the load generator itself sent."""

    def unreliable(self, goals: Goals) -> bool:
        """Return whether the load generator was too slow to measure the server."""
        return (self.late.p99 or 0.0) > goals.late_s

    def broken(self, goals: Goals) -> list[str]:
        """Return the broken goals and other failures as texts; none if all goals are kept."""
        pairs = (
            ("first text", self.first_text, goals.first_text_s),
            ("final", self.final, goals.final_s),
            ("tail", self.tail, goals.tail_s),
        )
        failures = [
            f"{name} p95 {1000 * one.p95:.0f} ms > {1000 * goal:.0f} ms"
            for name, one, goal in pairs
            if one.p95 is not None and one.p95 > goal
        ]
        failures += [f"{count} x {error}" for error, count in self.failed.items()]
        if self.refused:
            failures.append(f"{self.refused} refused")
        if not self.finished:
            failures.append("no task finished")
        else:
            failures += [f"no {name} was measured" for name, one, _ in pairs if not one.count]
        return failures


def figures(records: Iterable[TaskRecord], since: float, until: float) -> Figures:
    """Return the figures between two times on the clients' clock."""
    records = list(records)
    ended = [r for r in records if r.ended is not None and since <= r.ended < until]
    finished = [r for r in ended if r.finished]
    revised = [revisions(record.results) for record in finished]
    return Figures(
        seconds=until - since,
        first_text=percentiles(_within(map(first_texts, records), since, until)),
        final=percentiles(_within(map(finals, records), since, until)),
        # At the end all clients finish within one frame, a burst that live clients never make.
        tail=percentiles(_within(map(tails, records), since, until - FRAME_S)),
        finished=len(finished),
        refused=sum(r.refused for r in ended),
        failed=dict(Counter(r.error for r in ended if r.error and not r.refused)),
        shown=sum(shown for shown, _ in revised),
        revised=sum(replaced for _, replaced in revised),
        late=percentiles(
            late for record in records for due, late in record.late if since <= due < until
        ),
    )


def first_texts(record: TaskRecord) -> list[Latency]:
    """Return one for each sentence, or for the first if sentences and speech do not match."""
    found = []
    for results, speech in _matched(_sentences(record.results), record, slice(1)):
        due = _due(record, speech.begin_s)
        found += [Latency(due, one.at - due) for one in results if one.text][:1]
    return found


def finals(record: TaskRecord) -> list[Latency]:
    """Return one for each sentence, or for the last if sentences and speech do not match."""
    if not record.whole:  # the speech was cut short too
        return []
    ended = [results for results in _sentences(record.results) if results[-1].final]
    found = []
    for results, speech in _matched(ended, record, slice(-1, None)):
        due = _due(record, speech.end_s)
        found.append(Latency(due, results[-1].at - due))
    return found


def tails(record: TaskRecord) -> list[Latency]:
    """Return the tail of a task that finished."""
    if record.finish_sent is None or record.ended is None or record.error:
        return []
    return [Latency(record.finish_sent, record.ended - record.finish_sent)]


def _matched(
    sentences: list[list[Result]], record: TaskRecord, otherwise: slice
) -> Iterable[tuple[list[Result], Speech]]:
    """Return pairs of a sentence and its speech; of `otherwise` only if the counts differ."""
    speech = record.recording.speech
    if len(sentences) != len(speech):
        sentences, speech = sentences[otherwise], speech[otherwise]
    return zip(sentences, speech, strict=False)


def revisions(results: Iterable[Result]) -> tuple[int, int]:
    """Return the characters in results, and those that a later result replaced."""
    new = replaced = 0
    before = ""
    for one in results:
        kept = len(commonprefix([before, one.text]))
        replaced += len(before) - kept
        new += len(one.text) - kept
        before = "" if one.final else one.text
    return new, replaced


def percentiles(seconds: Iterable[float]) -> Percentiles:
    """Return the percentiles 50, 95 and 99."""
    values = np.fromiter(seconds, dtype=np.float64)
    if not len(values):
        return Percentiles()
    return Percentiles(len(values), *np.percentile(values, (50, 95, 99)).tolist())


def _within(found: Iterable[list[Latency]], since: float, until: float) -> Iterable[float]:
    return (one.seconds for timed in found for one in timed if since <= one.at < until)


def _due(record: TaskRecord, second: float) -> float:
    """Return the due time of the frame with that second of the recording."""
    frame = round(1000 * second) // round(1000 * FRAME_S)
    return record.began + FRAME_S * (1 + frame)


def _sentences(results: Iterable[Result]) -> list[list[Result]]:
    """Return the results by sentence; a final ends one."""
    sentences: list[list[Result]] = []
    for one in results:
        if not sentences or sentences[-1][-1].final:
            sentences.append([])
        sentences[-1].append(one)
    return sentences
