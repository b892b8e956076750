"""Every figure an operator can watch: name, unit, meaning and buckets.

No text, no audio, no key and no task id is in any of them; labels have a handful of values.

One registry is one process: each worker of `uvicorn --workers N` is a server of its own, and a
scrape reaches any one of them. Give every process a port and a scrape target instead.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final, Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from asr_server.errors import InternalError, ServiceUnavailable, Throttled

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
"""What `Metrics.text` is."""

Outcome = Literal["finished", "failed", "disconnected"]
"""How a task ended; `disconnected`: the client left before task-finished or task-failed."""

ServerState = Literal["loading", "ready", "restarting", "draining", "failed"]
"""What the server is doing: it takes tasks when it is ready, and then only."""

OUR_ERRORS = {InternalError.code}
REFUSALS = {Throttled.code, ServiceUnavailable.code}
"""Codes of errors that are the server's doing; every other code is the client's."""

FIRST_TEXT_GOAL_S, TAIL_GOAL_S = 0.6, 0.15
"""What 95 % of the latencies shall stay under; for a final it is the task's own
`max_sentence_silence` and 0.15 s."""

STEP_BUCKETS_S = (0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.18, 0.24, 0.36, 0.48, 0.6, 1.2, 5.0)
"""Around the budget of a step: a live stream brings a chunk every 0.48 or 0.6 s."""
CHUNKS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
WAIT_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.6, 1.2, 5.0, 20.0)
"""Around the 10 ms a chunk waits for company, and the chunk period after which it is late."""
LATENCY_BUCKETS_S = (0.05, 0.1, 0.15, 0.3, 0.45, 0.6, 0.8, 0.95, 1.2, 2.0, 5.0, 20.0)
"""Around the goals: tail 0.15 s, first text 0.6 s, final max_sentence_silence + 0.15 s."""
LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)

LAG_PERIOD_S = 1.0
"""Time between two samples of the event loop's lag."""


class Metrics:
    """The figures of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = into = CollectorRegistry()
        self.open_connections = Gauge(
            "asr_open_connections", "WebSocket connections open now.", registry=into
        )
        self.open_tasks = Gauge(
            "asr_open_tasks", "Tasks between task-started and their end.", registry=into
        )
        self.used_slots = Gauge(
            "asr_used_slots", "Slots of the recogniser taken by streams.", registry=into
        )
        self.slots = Gauge("asr_slots", "Slots of the recogniser, taken or not.", registry=into)
        self.step_duration = Histogram(
            "asr_step_duration_seconds",
            "Time one step with chunks took.",
            registry=into,
            buckets=STEP_BUCKETS_S,
        )
        self.busy = Counter(
            "asr_busy_seconds",
            "Time the device computed, mean of the lanes on which steps run side by side; its "
            "rate is the device's busy share.",
            registry=into,
        )
        self.vad_seconds = Counter(
            "asr_judging_seconds",
            "Time the VAD computed, on a thread of its own beside the lanes; its rate is that "
            "thread's busy share.",
            registry=into,
        )
        self.step_chunks = Histogram(
            "asr_step_chunks",
            "Chunks computed together in a step.",
            registry=into,
            buckets=CHUNKS_BUCKETS,
        )
        self.received_audio = Counter(
            "asr_received_audio_seconds",
            "Audio taken in, as it arrives; the device's busy share over its rate is the real-time "
            "factor, seconds of the device per second of audio.",
            registry=into,
        )
        self.queue_age = Histogram(
            "asr_queue_age_seconds",
            "How long the oldest chunk of live audio in a step had waited for it.",
            registry=into,
            buckets=WAIT_BUCKETS_S,
        )
        self.live_delay = Gauge(
            "asr_live_delay_seconds",
            "How long live audio takes through the recogniser now; where one task more would bring "
            "it over ASR_MAX_DELAY_MS, it is refused.",
            registry=into,
        )
        self.dropped_previews = Counter(
            "asr_dropped_previews", "Previews left out because the device was busy.", registry=into
        )
        self.first_text_latency = Histogram(
            "asr_first_text_latency_seconds",
            "From the arrival of a sentence's first sample to its first interim with text.",
            registry=into,
            buckets=LATENCY_BUCKETS_S,
        )
        self.final_latency = Histogram(
            "asr_final_latency_seconds",
            "From the arrival of a sentence's last sample of speech to its final.",
            registry=into,
            buckets=LATENCY_BUCKETS_S,
        )
        self.tail_latency = Histogram(
            "asr_tail_latency_seconds",
            "From finish-task to task-finished.",
            registry=into,
            buckets=LATENCY_BUCKETS_S,
        )
        self.tasks = Counter(
            "asr_tasks", "Tasks ended, by how they ended.", ["outcome"], registry=into
        )
        self.audio = Counter(
            "asr_audio_seconds",
            "Audio of ended tasks, by how they ended.",
            ["outcome"],
            registry=into,
        )
        self.errors = Counter(
            "asr_errors", "Errors told to clients, by DashScope's code.", ["code"], registry=into
        )
        self.device_restarts = Counter(
            "asr_device_restarts",
            "Times the device died or hung and was started anew; all its tasks failed.",
            registry=into,
        )
        self._state = Gauge(
            "asr_server_state",
            "1 for what the server is doing now, 0 for all else it could do.",
            ["state"],
            registry=into,
        )
        self._build = _Build()
        into.register(self._build)
        self.gpu_used_memory = Gauge(
            "asr_gpu_used_memory_bytes",
            "Memory of the GPU in use, by whatever process.",
            ["gpu"],
            registry=into,
        )
        self.gpu_memory = Gauge(
            "asr_gpu_memory_bytes", "Memory of the GPU.", ["gpu"], registry=into
        )
        self.gpu_utilization = Gauge(
            "asr_gpu_utilization_ratio",
            "Share of the last moments in which the GPU computed anything, 0 to 1.",
            ["gpu"],
            registry=into,
        )
        self.event_loop_lag = Histogram(
            "asr_event_loop_lag_seconds",
            "How late the event loop woke a task that slept for a second.",
            registry=into,
            buckets=LAG_BUCKETS_S,
        )
        ProcessCollector(registry=into)
        # A rate sees a counter grow, but not appear: what is waited for is there from the start.
        for code in OUR_ERRORS | REFUSALS:
            self.errors.labels(code)
        for outcome in get_args(Outcome):
            self.tasks.labels(outcome)
            self.audio.labels(outcome)

    def watch_state(self, read: Callable[[], ServerState]) -> None:
        """Show what `read` says of the server's state."""
        for state in get_args(ServerState):
            self._state.labels(state).set_function(partial(_is, state, read))

    def watch_build(self, read: Callable[[], Mapping[str, str]]) -> None:
        """Show what `read` says of what runs: `version`, `model`, `device`, `dtype`."""
        self._build.read = read

    def stepped(self, duration_s: float, chunks: int, waited_s: float, lanes: int) -> None:
        """A step with chunks is done, on one of so many lanes."""
        self.step_duration.observe(duration_s)
        self.busy.inc(duration_s / lanes)
        self.step_chunks.observe(chunks)
        self.queue_age.observe(waited_s)

    def ended(self, outcome: Outcome, audio_s: float) -> None:
        """A task is over."""
        self.tasks.labels(outcome).inc()
        self.audio.labels(outcome).inc(audio_s)

    async def watch_loop(self) -> None:
        """Sample the event loop's lag until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            self.event_loop_lag.observe(max(0.0, clock() - due))

    def families(self) -> Iterator[Metric]:
        """All figures with their names, units and meanings."""
        yield from self._registry.collect()

    def text(self) -> bytes:
        """All figures as they are now, in Prometheus's text format."""
        return generate_latest(self._registry)


def _is(state: ServerState, read: Callable[[], ServerState]) -> bool:
    return read() == state


class _Build(Collector):
    """Labels that are asked for when they are shown: a restart may change the device."""

    def __init__(self) -> None:
        self.read: Callable[[], Mapping[str, str]] = dict

    def collect(self) -> Iterator[Metric]:
        """What runs, as labels of a 1."""
        yield InfoMetricFamily("asr_build", "What runs, and on what.", dict(self.read()))
