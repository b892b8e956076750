"""Measure a task for the metrics, and log the one line that it leaves."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

from asr_server.access import Caller
from asr_server.audio.units import SAMPLE_RATE, Samples, from_ms
from asr_server.errors import AsrError, InternalError
from asr_server.observability.metrics import Metrics, Outcome
from asr_server.protocol.events import Sentence
from asr_server.state.task import Task

log = logging.getLogger(__name__)

GRAIN: Samples = from_ms(40)
"""Shorter frames are recorded together."""

MAX_ARRIVALS = 1024
"""Frames recorded, at least 41 s; the latency of a result for older audio is not measured."""

MOST_IGNORED_NAMES = 100
"""Parameters that are logged of one connection."""


def log_end(
    outcome: Outcome, error: AsrError | None, caller: Caller, address: str = "", **figures: Any
) -> None:
    """Log how a task ended, with those of its figures that are not None.

    The level is `error` for a fault of the server, else `warning` unless the task finished.
    """
    level = logging.INFO if outcome == "finished" else logging.WARNING
    if isinstance(error, InternalError):
        level = logging.ERROR
    fields = {
        "outcome": outcome,
        "error": error.code if error else None,
        "caller": caller or None,
        **({"reason": str(error), "address": address} if error and error.explained else {}),
        **figures,
    }
    extra = {name: value for name, value in fields.items() if value is not None}
    log.log(level, "task %s", outcome, extra=extra)


class IgnoredLog:
    """Log which parameters a connection sends in vain, each name once."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def add(self, task_id: str, names: Iterable[str]) -> None:
        """Log the names, at INFO and without values, that were not logged before."""
        new = [name for name in names if name not in self._logged]
        if new and len(self._logged) < MOST_IGNORED_NAMES:
            self._logged.update(new)
            about = {"task_id": task_id, "parameters": new}
            log.info("parameters of run-task are ignored", extra=about)


class TaskLog:
    """Measure one open task; every latency counts from the frame that brought a sample."""

    def __init__(self, task: Task, metrics: Metrics) -> None:
        self._task = task
        self._metrics = metrics
        self._clock = asyncio.get_running_loop().time
        self._began_at = self._frame_at = self._clock()
        self._arrivals: deque[tuple[Samples, float]] = deque(maxlen=MAX_ARRIVALS)
        """The end of each stretch of audio and its arrival, oldest first."""
        self._dropped: Samples = 0
        """The beginning of the oldest recorded stretch."""
        self._decoded: Samples = 0
        self._last_shown = -1
        """The last sentence id of which text was sent."""
        self._finish_at: float | None = None
        self._sentences = self._characters = 0
        self._max_first_text_s: float | None = None
        self._max_final_s: float | None = None
        metrics.open_tasks.inc()
        metrics.opened_tasks.labels(task.door).inc()

    def frame_received(self) -> None:
        """Record the arrival of a frame; audio decoded from now on came with it."""
        self._frame_at = self._clock()

    def audio_decoded(self, end: Samples) -> None:
        """Record that all audio before sample `end` is decoded."""
        begin, self._decoded = self._decoded, end
        self._metrics.received_audio.inc((end - begin) / SAMPLE_RATE)
        arrivals = self._arrivals
        newest_begin = arrivals[-2][0] if len(arrivals) > 1 else self._dropped
        if arrivals and begin - newest_begin < GRAIN:
            arrivals.pop()
        elif len(arrivals) == MAX_ARRIVALS:
            self._dropped = arrivals[0][0]
        arrivals.append((end, self._frame_at))

    def sentence_sent(self, sentence: Sentence) -> None:
        """Measure the latency of a result."""
        now = self._clock()
        if sentence.end_time is not None:
            self._sentences += 1
            self._characters += len(sentence.text)
            arrived = self._arrival(from_ms(sentence.end_time) - 1)
            if arrived is not None:
                self._metrics.final_latency.observe(now - arrived)
                self._max_final_s = max(now - arrived, self._max_final_s or 0.0)
        elif sentence.text and sentence.sentence_id != self._last_shown:
            self._last_shown = sentence.sentence_id
            arrived = self._arrival(from_ms(sentence.begin_time))
            if arrived is not None:
                self._metrics.first_text_latency.observe(now - arrived)
                self._max_first_text_s = max(now - arrived, self._max_first_text_s or 0.0)

    def finish_received(self) -> None:
        """Record the arrival of finish-task."""
        self._finish_at = self._clock()

    def ended(
        self, outcome: Outcome, error: AsrError | None, caller: Caller, address: str = ""
    ) -> None:
        """Count the task in the metrics and log its line."""
        now = self._clock()
        audio_s, duration_s = self._decoded / SAMPLE_RATE, now - self._began_at
        tail_s = None
        self._metrics.open_tasks.dec()
        self._metrics.ended(outcome, audio_s)
        if outcome == "finished" and self._finish_at is not None:
            tail_s = now - self._finish_at
            self._metrics.tail_latency.observe(tail_s)
        log_end(
            outcome,
            error,
            caller,
            address,
            task_id=self._task.task_id,
            door=self._task.door,
            model=self._task.model,
            format=self._task.format,
            sample_rate=self._task.sample_rate,
            audio_s=round(audio_s, 3),
            duration_s=round(duration_s, 3),
            rtf=round(duration_s / audio_s, 3) if audio_s else None,
            sentences=self._sentences,
            characters=self._characters,
            first_text_ms=_ms(self._max_first_text_s),
            final_ms=_ms(self._max_final_s),
            tail_ms=_ms(tail_s),
        )

    def _arrival(self, sample: Samples) -> float | None:
        """Return when a sample arrived, and drop what is older: sentence times only grow."""
        sample = min(sample, self._decoded - 1)  # milliseconds are also rounded up
        if sample < self._dropped:
            return None
        while self._arrivals and self._arrivals[0][0] <= sample:
            self._dropped = self._arrivals.popleft()[0]
        return self._arrivals[0][1] if self._arrivals else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
