"""When a task's audio arrived, and how long the answers to it took."""

import asyncio
from collections import deque

from asr_server.audio.units import SAMPLE_RATE, Samples, from_ms
from asr_server.metrics import Metrics, Outcome
from asr_server.protocol.events import Sentence

GRAIN: Samples = from_ms(40)
"""Shorter frames are remembered together."""

MOST_ARRIVALS = 1024
"""Frames remembered, 41 s at least; the answer to an older one is not measured."""


class Stopwatch:
    """Measures one task for the metrics. Latencies count from the frame that brought a sample."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._clock = asyncio.get_running_loop().time
        self._frame_at = self._clock()
        self._arrivals: deque[tuple[Samples, float]] = deque(maxlen=MOST_ARRIVALS)
        """The end of each stretch of audio and when it arrived, oldest first."""
        self._forgotten: Samples = 0
        """Where the oldest remembered stretch begins."""
        self._decoded: Samples = 0
        self._shown = -1
        """The last sentence of which text was shown."""
        self._finishing_at: float | None = None
        metrics.open_tasks.inc()

    def frame(self) -> None:
        """A frame of audio arrived; what is decoded from now on came with it."""
        self._frame_at = self._clock()

    def decoded(self, end: Samples) -> None:
        """All audio before sample `end` is there."""
        begin, self._decoded = self._decoded, end
        self._metrics.received_audio.inc((end - begin) / SAMPLE_RATE)
        arrivals = self._arrivals
        if arrivals and begin - self._begin_of_newest < GRAIN:
            arrivals.pop()
        elif len(arrivals) == MOST_ARRIVALS:
            self._forgotten = arrivals[0][0]
        arrivals.append((end, self._frame_at))

    def told(self, sentence: Sentence) -> None:
        """A result is on its way to the client."""
        now = self._clock()
        if sentence.end_time is not None:
            arrived = self._arrival(from_ms(sentence.end_time) - 1)
            if arrived is not None:
                self._metrics.final_latency.observe(now - arrived)
        elif sentence.text and sentence.sentence_id != self._shown:
            self._shown = sentence.sentence_id
            arrived = self._arrival(from_ms(sentence.begin_time))
            if arrived is not None:
                self._metrics.first_text_latency.observe(now - arrived)

    def finishing(self) -> None:
        """The client said finish-task."""
        self._finishing_at = self._clock()

    def end(self, outcome: Outcome) -> None:
        """The task is over."""
        self._metrics.open_tasks.dec()
        self._metrics.ended(outcome, self._decoded / SAMPLE_RATE)
        if outcome == "finished" and self._finishing_at is not None:
            self._metrics.tail_latency.observe(self._clock() - self._finishing_at)

    @property
    def _begin_of_newest(self) -> Samples:
        return self._arrivals[-2][0] if len(self._arrivals) > 1 else self._forgotten

    def _arrival(self, sample: Samples) -> float | None:
        """When a sample arrived; forgets what came before it, since times only move on."""
        sample = min(sample, self._decoded - 1)  # milliseconds round up, too
        if sample < self._forgotten:
            return None
        while self._arrivals and self._arrivals[0][0] <= sample:
            self._forgotten = self._arrivals.popleft()[0]
        return self._arrivals[0][1] if self._arrivals else None
