"""Whether one more task can be taken without making those already taken late. Pure: no clock.

What is watched is the delay, not how busy the device is: batching keeps a device busy long before
it is full, and a file sent at full speed makes it busy without making anybody late. A batch takes
in what arrived while the batch before it ran, so with a share u of the capacity in use the delay
is that of a lone step divided by 1 - u. Read backwards, the delay tells u, and so what it will
become with one stream more, while there is still time to say no.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Limits:
    """When to refuse. Times in seconds."""

    max_delay_s: float = 0.150
    """How long live audio may take through the recogniser; 0 never refuses for that."""
    resume: float = 0.8
    """Share of it under which the delay must fall before tasks are taken again."""
    first: int = 4
    """Streams that are always taken: too few to learn from, and a slow machine must serve some."""
    burst: int = 16
    """Streams that may always open together: the clients of a neighbour that restarts."""
    growth: float = 1.5
    """Streams that may be open for each that was a few seconds ago."""
    chunk_period_s: float = 0.600
    """What a stream in real time leaves between its chunks."""


DELAY_MEMORY_S = 1.0
"""Of busy time: pauses between steps say nothing about how long work takes."""
JUDGE_WEIGHT = 1 / 16
"""Of the last step that judged, in the mean of what judging takes: there are many, all short."""
IDLE_MEMORY_S = 3.0
STREAMS_MEMORY_S = 4.0
"""Longer than the delay's: a stream is counted at once and felt when somebody speaks on it."""
MOST_USED = 0.9
"""Share of the capacity that may be planned with; beyond, the next breath makes everybody late."""
LONE_STEPS = 16
"""The last ones whose median is what one costs: a machine that stalls once has not become slow."""


class Admission:
    """Told when steps begin and end, and how many streams are open; times in seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._chunk_delay = 0.0
        """From a chunk's last sample having been judged to its text."""
        self._judge_delay = 0.0
        """From a window's last sample to its having been judged, when that was last done."""
        self._judged_at = 0.0
        self._felt = 0.0
        """Streams that were open while the delay came about."""
        self._lone_delays: deque[float] = deque(maxlen=LONE_STEPS)
        """Through a step with a single chunk."""
        self._lone_steps: deque[float] = deque(maxlen=LONE_STEPS)
        """Durations of such steps, without the wait for company."""
        self._known_at = 0.0
        self._running: list[float] = []
        """When the steps with chunks began that are not done."""
        self._judging_since: float | None = None
        self._refusing = False

    def began(self, now: float, streams: int) -> None:
        """A step with chunks begins, that many streams being open; there may be several at once."""
        self._pass(now, streams)
        self._running.append(now)

    def ended(self, began: float, now: float, streams: int, chunks: int, waited_s: float) -> None:
        """The step that began then is done; its oldest live work had waited that long for it."""
        self._running.remove(began)
        duration = now - began
        taken = waited_s + duration
        passed = now - max(began, self._known_at)  # steps side by side share their time
        weight = _weight(passed, DELAY_MEMORY_S)
        self._chunk_delay += (taken - self._chunk_delay) * weight
        self._felt += (streams - self._felt) * _weight(passed, STREAMS_MEMORY_S)
        self._known_at = now
        if chunks == 1:
            self._lone_delays.append(taken)
            self._lone_steps.append(duration)

    def judging(self, now: float) -> None:
        """A step that judges begins, one at a time."""
        self._judge_delay = self._judge_delay_at(now)
        self._judging_since = now

    def judged(self, now: float, waited_s: float) -> None:
        """It is done; its oldest live work had waited that long for it."""
        assert self._judging_since is not None
        taken = waited_s + now - self._judging_since
        self._judge_delay += (taken - self._judge_delay) * JUDGE_WEIGHT
        self._judging_since, self._judged_at = None, now

    def admits(self, now: float, streams: int) -> bool:
        """Whether one more may be opened when that many are."""
        limits = self._limits
        if not limits.max_delay_s or streams < limits.first:
            return True
        delay = self.delay(now, streams)
        limit = limits.max_delay_s * (limits.resume if self._refusing else 1.0)
        self._refusing = self._with(streams + 1, delay) > limit
        return not self._refusing and streams < max(self._burst, limits.growth * self._felt)

    def delay(self, now: float, streams: int) -> float:
        """How long live audio takes through the recogniser, with that many streams open.

        A step that hangs counts, too; an idle device is slowly forgiven.
        """
        self._pass(now, streams)
        began = [*self._running, now if self._judging_since is None else self._judging_since]
        return max(self._chunk_delay + self._judge_delay_at(now), now - min(began))

    def _judge_delay_at(self, now: float) -> float:
        """What judging took, forgiven while nothing is judged."""
        idle = 0.0 if self._judging_since is not None else max(0.0, now - self._judged_at)
        return self._judge_delay * (1 - _weight(idle, IDLE_MEMORY_S))

    @property
    def _burst(self) -> float:
        """Streams that may open before they are felt: what would fit without batching."""
        if not self._lone_steps:
            return self._limits.burst
        return self._limits.chunk_period_s / median(self._lone_steps)

    def _pass(self, now: float, streams: int) -> None:
        """No chunk was computed since the last step, if none is now."""
        if not self._running:
            idle = max(0.0, now - self._known_at)
            kept = 1 - _weight(idle, IDLE_MEMORY_S)
            self._chunk_delay *= kept
            self._felt += (streams - self._felt) * _weight(idle, STREAMS_MEMORY_S)
            self._known_at = now

    def _with(self, streams: int, delay: float) -> float:
        """The delay to be expected with that many streams, from that of now.

        How much of the capacity is used is read from the chunks alone, whose lone cost is known.
        """
        if not self._lone_delays or streams <= self._felt:
            return delay
        if self._chunk_delay <= (lone := median(self._lone_delays)):
            return delay
        free = lone / self._chunk_delay
        left = 1 - (1 - free) * streams / max(self._felt, 1.0)
        return delay * free / left if left > 1 - MOST_USED else math.inf


def _weight(seconds: float, memory_s: float) -> float:
    """Of what happened during the last seconds in an average that forgets."""
    return 1 - math.exp(-seconds / memory_s)
