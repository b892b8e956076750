"""From what clients noted to figures. Pure arithmetic; times in seconds.

first text  from the frame with the first sample of a sentence's speech having been due to the
            first text of that sentence
final       from the frame with its last sample of speech having been due to its final: the silence
            that the server waits for is part of it
tail        from finish-task to task-finished

Frames count from when they were due, not from when the server let them in: what waits for a server
that does not read has waited.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os.path import commonprefix

import numpy as np

from asr_server.load.account import Account, Shown
from asr_server.load.recordings import FRAME_S, Speech

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Timed:
    """A latency and when what it answers was due."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Goals:
    """What 95 of 100 latencies must keep, in seconds."""

    first_text_s: float = 0.6
    final_s: float = 0.95
    """The silence included."""
    tail_s: float = 0.15
    late_s: float = 0.05
    """For 99 of 100 frames, and for the program that measures: if they leave later by its own
    fault, what it measured says more about itself than about the server."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of one latency, in seconds; None where nothing was measured."""

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a number of clients saw in a stretch of time."""

    seconds: float
    first_text: Percentiles
    final: Percentiles
    tail: Percentiles
    finished: int
    refused: int
    failed: dict[str, int]
    """Tasks by error."""
    wordless: int
    """Finished tasks with speech of which no text came."""
    shown: int
    """Characters."""
    revised: int
    """Shown characters that a later result of the same sentence replaced."""
    late: Percentiles
    """How late this program sent by its own fault."""

    def own_fault(self, goals: Goals) -> bool:
        """Whether the program that measures was too slow to measure."""
        return (self.late.p99 or 0.0) > goals.late_s

    def broken(self, goals: Goals) -> list[str]:
        """What is not as it should be, in words; nothing if all goals are kept."""
        pairs = (
            ("first text", self.first_text, goals.first_text_s),
            ("final", self.final, goals.final_s),
            ("tail", self.tail, goals.tail_s),
        )
        said = [
            f"{name} p95 {1000 * one.p95:.0f} ms > {1000 * goal:.0f} ms"
            for name, one, goal in pairs
            if one.p95 is not None and one.p95 > goal
        ]
        said += [f"{count} x {error}" for error, count in self.failed.items()]
        if self.refused:
            said.append(f"{self.refused} refused")
        if not self.finished:
            said.append("no task finished")
        else:
            said += [f"no {name} was seen" for name, one, _ in pairs if not one.count]
        return said


def figures(accounts: Iterable[Account], since: float, until: float) -> Figures:
    """What happened between two times on the clients' clock."""
    accounts = list(accounts)
    ended = [a for a in accounts if a.ended is not None and since <= a.ended < until]
    finished = [a for a in ended if a.finished]
    shown = revised = 0
    for account in finished:
        more, replaced = revisions(account.shown)
        shown, revised = shown + more, revised + replaced
    return Figures(
        seconds=until - since,
        first_text=percentiles(_within(map(first_texts, accounts), since, until)),
        final=percentiles(_within(map(finals, accounts), since, until)),
        # When the time is up everybody finishes within a frame, as people never do.
        tail=percentiles(_within(map(tails, accounts), since, until - FRAME_S)),
        finished=len(finished),
        refused=sum(a.refused for a in ended),
        failed=dict(Counter(a.error for a in ended if a.error and not a.refused)),
        wordless=sum(1 for a in finished if a.whole and a.recording.speech and not any(a.texts)),
        shown=shown,
        revised=revised,
        late=percentiles(
            late for account in accounts for due, late in account.late if since <= due < until
        ),
    )


def first_texts(account: Account) -> list[Timed]:
    """For each sentence, or for the first if sentences and speech do not match."""
    sentences = _sentences(account.shown)
    speech = account.recording.speech
    if len(sentences) != len(speech):
        sentences, speech = sentences[:1], speech[:1]
    found = []
    for results, stretch in zip(sentences, speech, strict=False):
        first = next((one for one in results if one.text), None)
        if first is not None:
            found.append(_since(_due(account, stretch.begin_s), first.at))
    return found


def finals(account: Account) -> list[Timed]:
    """For each sentence, or for the last if sentences and speech do not match."""
    if not account.whole:  # it was cut short, and so was the speech
        return []
    sentences = [results[-1] for results in _sentences(account.shown) if results[-1].final]
    speech: Sequence[Speech] = account.recording.speech
    if len(sentences) != len(speech):
        sentences, speech = sentences[-1:], speech[-1:]
    return [
        _since(_due(account, stretch.end_s), last.at)
        for last, stretch in zip(sentences, speech, strict=False)
    ]


def tails(account: Account) -> list[Timed]:
    """Of a task that finished."""
    if account.asked is None or account.ended is None or account.error:
        return []
    return [_since(account.asked, account.ended)]


def revisions(shown: Iterable[Shown]) -> tuple[int, int]:
    """Characters shown, and those of them that a later result of their sentence replaced."""
    new = replaced = 0
    before = ""
    for one in shown:
        kept = len(commonprefix([before, one.text]))
        replaced += len(before) - kept
        new += len(one.text) - kept
        before = "" if one.final else one.text
    return new, replaced


def percentiles(seconds: Iterable[float]) -> Percentiles:
    """50, 95 and 99 of a hundred."""
    values = np.fromiter(seconds, dtype=np.float64)
    if not len(values):
        return Percentiles()
    return Percentiles(len(values), *(float(p) for p in np.percentile(values, PERCENTILES)))


def _within(found: Iterable[list[Timed]], since: float, until: float) -> Iterable[float]:
    return (one.seconds for timed in found for one in timed if since <= one.at < until)


def _since(due: float, answered: float) -> Timed:
    return Timed(due, answered - due)


def _due(account: Account, second: float) -> float:
    """When the frame with that second of the recording was to be sent."""
    frame = round(1000 * second) // round(1000 * FRAME_S)
    return account.began + FRAME_S * (1 + frame)


def _sentences(shown: Iterable[Shown]) -> list[list[Shown]]:
    """Results by sentence; a final ends one."""
    sentences: list[list[Shown]] = []
    for one in shown:
        if not sentences or sentences[-1][-1].final:
            sentences.append([])
        sentences[-1].append(one)
    return sentences
