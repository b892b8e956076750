"""When a task's audio arrived, and how long the answers to it took."""

import asyncio
from collections import deque

from asr_server.audio.units import SAMPLE_RATE, Samples, from_ms
from asr_server.observability.metrics import Metrics, Outcome
from asr_server.protocol.events import Sentence

GRAIN: Samples = from_ms(40)
"""Shorter frames are remembered together."""

MOST_ARRIVALS = 1024
"""Frames remembered, 41 s at least; the answer to an older one is not measured."""


class Stopwatch:
    """Measures one task for the metrics and the log.

    Latencies count from the frame that brought a sample.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._clock = asyncio.get_running_loop().time
        self._began_at = self._frame_at = self._clock()
        self._arrivals: deque[tuple[Samples, float]] = deque(maxlen=MOST_ARRIVALS)
        """The end of each stretch of audio and when it arrived, oldest first."""
        self._forgotten: Samples = 0
        """Where the oldest remembered stretch begins."""
        self._decoded: Samples = 0
        self._shown = -1
        """The last sentence of which text was shown."""
        self._finishing_at: float | None = None
        self._sentences = self._characters = 0
        self._first_text_s: float | None = None
        self._final_s: float | None = None
        """The slowest of each."""
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
            self._sentences += 1
            self._characters += len(sentence.text)
            arrived = self._arrival(from_ms(sentence.end_time) - 1)
            if arrived is not None:
                self._metrics.final_latency.observe(now - arrived)
                self._final_s = max(now - arrived, self._final_s or 0.0)
        elif sentence.text and sentence.sentence_id != self._shown:
            self._shown = sentence.sentence_id
            arrived = self._arrival(from_ms(sentence.begin_time))
            if arrived is not None:
                self._metrics.first_text_latency.observe(now - arrived)
                self._first_text_s = max(now - arrived, self._first_text_s or 0.0)

    def finishing(self) -> None:
        """The client said finish-task."""
        self._finishing_at = self._clock()

    def end(self, outcome: Outcome) -> dict[str, float | None]:
        """The task is over; its figures for the log."""
        now = self._clock()
        audio_s, duration_s = self._decoded / SAMPLE_RATE, now - self._began_at
        tail_s = None
        self._metrics.open_tasks.dec()
        self._metrics.ended(outcome, audio_s)
        if outcome == "finished" and self._finishing_at is not None:
            tail_s = now - self._finishing_at
            self._metrics.tail_latency.observe(tail_s)
        return {
            "audio_s": round(audio_s, 3),
            "duration_s": round(duration_s, 3),
            "rtf": round(duration_s / audio_s, 3) if audio_s else None,
            "sentences": self._sentences,
            "characters": self._characters,
            "first_text_ms": _ms(self._first_text_s),
            "final_ms": _ms(self._final_s),
            "tail_ms": _ms(tail_s),
        }

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


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
