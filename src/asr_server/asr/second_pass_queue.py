"""Decide which sentences the offline model computes next. Pure: no clock, no tensors.

Sentences of similar length share a batch, so that little of it is padding, and none that would make
an earlier deadline pass. Live audio comes first, ordered by deadline.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from asr_server.asr.batching import Load
from asr_server.asr.second_pass import SecondPassJob
from asr_server.asr.types import StreamId
from asr_server.audio.units import SAMPLE_RATE, Samples

MAX_UTILISATION, MAX_DELAY_S = 0.6, 0.120
"""Utilisation by live audio, previews left out, and its delay, above which no second pass runs.
Admission refuses tasks from a delay of 150 ms on: it shall never be a second pass that brings it
there. Previews are left out because they fill an idle device."""
LONE_DELAYS = 1.5
"""The delay that is allowed instead, as a multiple of a lone step's, where that alone is above
`MAX_DELAY_S`: such a processor is slow, not overloaded. Admission refuses a fifth task there in any
case, and never one of the first four."""

MAX_PADDING = 1.25
"""Longest batch in relation to the audio in it."""
MAX_BATCH, MAX_BATCH_AUDIO = 8, 60 * SAMPLE_RATE
"""Sentences of one step, and their audio with padding: bounds the memory of the step."""
MAX_BULK_AUDIO = 10 * SAMPLE_RATE
"""Audio of faster-than-realtime streams in one step while live streams are open, but for a single
longer sentence: a step cannot be interrupted."""

COST_STEPS = 16
"""Latest steps whose median is the expected cost of audio."""
COST_DECAY = 0.95
"""Factor on the expected cost for each sentence that it ruled out, so that one slow minute does not
rule them out for ever."""


def overloaded(load: Load) -> bool:
    """Return whether live audio needs the whole device."""
    slow = load.lone_delay_s > MAX_DELAY_S
    max_delay_s = LONE_DELAYS * load.lone_delay_s if slow else MAX_DELAY_S
    return load.without_previews > MAX_UTILISATION or load.delay_s > max_delay_s


@dataclass(frozen=True, slots=True)
class _Waiting:
    job: SecondPassJob
    since: float
    deadline: float
    live: bool


class SecondPassQueue:
    """Hold the sentences that wait for the offline model."""

    def __init__(self) -> None:
        self._waiting: dict[StreamId, dict[SecondPassJob, _Waiting]] = {}
        self._max_batch = MAX_BATCH
        self._costs: deque[float] = deque(maxlen=COST_STEPS)
        """Seconds for each sample, padding included."""
        self._bulk_step = False
        """The step that was taken last has no live stream's sentence."""

    def offer(
        self, stream: StreamId, jobs: Mapping[SecondPassJob, float], live: bool, now: float
    ) -> None:
        """Replace the jobs of a stream, each with its deadline; a job keeps its waiting time."""
        waiting = self._waiting.pop(stream, {})
        if jobs:
            self._waiting[stream] = {
                job: _Waiting(job, waiting[job].since if job in waiting else now, deadline, live)
                for job, deadline in jobs.items()
            }

    def withdraw(self, stream: StreamId) -> None:
        """Remove the jobs of a stream."""
        self._waiting.pop(stream, None)

    def limit_batch(self, sentences: int) -> None:
        """Take at most so many sentences from now on."""
        self._max_batch = max(1, min(self._max_batch, sentences))

    def clear(self) -> list[SecondPassJob]:
        """Return, and remove, all jobs."""
        jobs = [one.job for one in self._all()]
        self._waiting.clear()
        return jobs

    def take_late(self, now: float) -> list[SecondPassJob]:
        """Return, and remove, the jobs of live streams that cannot be ready by their deadline."""
        late = [
            one
            for one in self._all()
            if one.live and now + self._expected_s(one.job.length) > one.deadline
        ]
        for _ in late:
            self._costs = deque((COST_DECAY * cost for cost in self._costs), COST_STEPS)
        return self._remove(late)

    def take(self, now: float, any_live: bool) -> dict[SecondPassJob, float]:
        """Return, and remove, the jobs of the next step, with the time since when they wait."""
        order = sorted(self._all(), key=lambda one: (not one.live, one.deadline))
        chosen = order[:1]
        for one in order[1:]:
            if self._fits([*chosen, one], now, any_live):
                chosen.append(one)
        self._remove(chosen)
        self._bulk_step = bool(chosen) and not any(one.live for one in chosen)
        return {one.job: one.since for one in chosen}

    def computed(self, jobs: Collection[SecondPassJob], duration_s: float) -> None:
        """Note how long the step that was taken last took.

        Recordings sent at full speed keep every core busy, and their steps take several times as
        long: they do not say what a live sentence will cost.
        """
        if not self._bulk_step:
            self._costs.append(duration_s / _padded(jobs))

    def _all(self) -> list[_Waiting]:
        return [one for waiting in self._waiting.values() for one in waiting.values()]

    def _remove(self, chosen: Sequence[_Waiting]) -> list[SecondPassJob]:
        for one in chosen:
            del self._waiting[one.job.stream][one.job]
        return [one.job for one in chosen]

    def _fits(self, chosen: Sequence[_Waiting], now: float, any_live: bool) -> bool:
        jobs = [one.job for one in chosen]
        padded = _padded(jobs)
        bulk = any_live and not all(one.live for one in chosen)
        return (
            len(jobs) <= self._max_batch
            and padded <= MAX_PADDING * sum(job.length for job in jobs)
            and padded <= (MAX_BULK_AUDIO if bulk else MAX_BATCH_AUDIO)
            and now + self._expected_s(padded) <= min(one.deadline for one in chosen)
        )

    def _expected_s(self, samples: Samples) -> float:
        return samples * median(self._costs) if self._costs else 0.0


def _padded(jobs: Collection[SecondPassJob]) -> Samples:
    return len(jobs) * max(job.length for job in jobs)
