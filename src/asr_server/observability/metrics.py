"""Define every metric: name, unit, meaning and buckets.

No metric holds text, audio, a key or a task id; labels have a handful of values.

One registry is one process: each worker of `uvicorn --workers N` is a server of its own, and a
scrape reaches any one of them. Give every process a port and a scrape target instead.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, get_args

import prometheus_client as prometheus
from prometheus_client.core import InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from asr_server.errors import InternalError, ServiceUnavailable, Throttled

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
"""The content type of `Metrics.text`."""

SecondPassOutcome = Literal[
    "corrected", "confirmed", "empty", "late", "dropped", "failed", "skipped", "discarded"
]
"""What became of a second pass: the final has the offline model's text, which differs from the
streaming text or not; or it has the streaming text, because the offline model found none, was not
ready, was not started under load, failed, or the sentence was cut or too long; or speech resumed.
"""

Outcome = Literal["finished", "failed", "disconnected"]
"""How a task ended; `disconnected`: the client left before task-finished or task-failed."""

Door = Literal[
    "dashscope", "qwen-realtime", "openai-realtime", "openai-realtime-beta", "openai-http"
]
"""The protocol that a task came by."""

ServerState = Literal["loading", "ready", "restarting", "draining", "failed"]
"""What the server is doing; it accepts tasks only in the state `ready`."""

OUR_ERRORS = {InternalError.code}
REFUSALS = {Throttled.code, ServiceUnavailable.code}
"""Codes of errors that the server causes; the client causes every other one."""

STEP_BUCKETS_S = (0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.18, 0.24, 0.36, 0.48, 0.6, 1.2, 5.0)
"""Around the chunk periods of a live stream, 0.48 s and 0.6 s: a step must be shorter."""
CHUNKS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
WAIT_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.6, 1.2, 5.0, 20.0)
"""Around the batching delay of 10 ms and the chunk period, after which a chunk is late."""
LATENCY_BUCKETS_S = (0.05, 0.1, 0.15, 0.3, 0.45, 0.6, 0.8, 0.95, 1.2, 2.0, 5.0, 20.0)
"""Around the latency goals."""
SECOND_PASS_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 2.0, 5.0, 30.0)
"""A pause of 0.32 s and the default deadline leave 0.6 s of the usual silence of 0.8 s."""
LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0)

LAG_PERIOD_S = 1.0
"""Time between two samples of the event loop's lag."""


class Metrics:
    """Hold the metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = prometheus.CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> prometheus.Gauge:
            return prometheus.Gauge(name, text, labels, registry=self._registry)

        def counter(name: str, text: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(name, text, labels, registry=self._registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> prometheus.Histogram:
            return prometheus.Histogram(name, text, buckets=buckets, registry=self._registry)

        self.open_connections = gauge(
            "asr_open_connections", "Open WebSocket connections, and uploads."
        )
        self.open_tasks = gauge("asr_open_tasks", "Tasks between task-started and their end.")
        self.used_slots = gauge("asr_used_slots", "Slots of the recogniser in use.")
        self.slots = gauge("asr_slots", "Slots of the recogniser, in use or free.")
        self.capacity = gauge(
            "asr_capacity_streams",
            "Live streams that this machine holds: as set, as measured by bench --save, or "
            "estimated at the start.",
        )
        self.utilization = gauge(
            "asr_utilization_ratio",
            "Open tasks over the capacity, 0 to 1; 1 while further tasks are refused.",
        )
        self.step_duration = histogram(
            "asr_step_duration_seconds", "Duration of a decoding step.", STEP_BUCKETS_S
        )
        self.busy = counter(
            "asr_busy_seconds",
            "Time spent in decoding steps, mean of the workers; its rate is the utilisation of the "
            "device.",
        )
        self.vad_seconds = counter(
            "asr_vad_seconds",
            "Time spent in VAD steps, on a thread of their own; its rate is the utilisation of "
            "that thread.",
        )
        self.step_chunks = histogram(
            "asr_step_chunks", "Batch size of a decoding step, in chunks.", CHUNKS_BUCKETS
        )
        self.received_audio = counter(
            "asr_received_audio_seconds",
            "Audio received; the rate of asr_busy_seconds over its rate is the real-time factor.",
        )
        self.queue_age = histogram(
            "asr_queue_age_seconds",
            "Queueing delay of the oldest chunk of live audio in a decoding step.",
            WAIT_BUCKETS_S,
        )
        self.decoder_delay = histogram(
            "asr_decoder_delay_seconds",
            "Time that a message of compressed live audio waits for a processor to decode it.",
            LAG_BUCKETS_S,
        )
        self.live_delay = gauge(
            "asr_live_delay_seconds",
            "Delay of live audio in the recogniser; admission refuses a task that would bring it "
            "above ASR_MAX_DELAY_MS.",
        )
        self.dropped_previews = counter(
            "asr_dropped_previews", "Previews dropped because the device was busy."
        )
        self.second_pass = counter(
            "asr_second_pass",
            "Second passes by outcome: the final was corrected or confirmed, or has the streaming "
            "text, because the offline model's was empty or late, was dropped under load, failed, "
            "or was skipped for a sentence that was cut; discarded when speech resumed.",
            "outcome",
        )
        self.second_pass_latency = histogram(
            "asr_second_pass_latency_seconds",
            "From a sentence's being ready for the offline model to its result.",
            SECOND_PASS_BUCKETS_S,
        )
        self.second_pass_seconds = counter(
            "asr_second_pass_seconds",
            "Time spent in second-pass steps, on a thread of their own; its rate is the "
            "utilisation of that thread.",
        )
        self.second_pass_characters = counter(
            "asr_second_pass_characters", "Characters of finals by the offline model."
        )
        self.second_pass_changed = counter(
            "asr_second_pass_changed_characters",
            "Characters that differ between those finals and the streaming text.",
        )
        self.first_text_latency = histogram(
            "asr_first_text_latency_seconds",
            "From the arrival of a sentence's first sample to its first interim with text.",
            LATENCY_BUCKETS_S,
        )
        self.final_latency = histogram(
            "asr_final_latency_seconds",
            "From the arrival of a sentence's last sample of speech to its final.",
            LATENCY_BUCKETS_S,
        )
        self.tail_latency = histogram(
            "asr_tail_latency_seconds", "From finish-task to task-finished.", LATENCY_BUCKETS_S
        )
        self.tasks = counter("asr_tasks", "Ended tasks, by outcome.", "outcome")
        self.opened_tasks = counter(
            "asr_opened_tasks", "Opened tasks, by the protocol that they came by.", "door"
        )
        self.audio = counter("asr_audio_seconds", "Audio of ended tasks, by outcome.", "outcome")
        self.errors = counter("asr_errors", "Errors sent to clients, by DashScope code.", "code")
        self.device_restarts = counter(
            "asr_device_restarts",
            "Restarts of a device that failed or hung; each failed all open tasks.",
        )
        self.database_up = gauge(
            "asr_database_up",
            "1 while the database of hotword lists and revoked tokens answers, 0 otherwise.",
        )
        self._state = gauge(
            "asr_server_state", "1 for the server's current state, 0 for all others.", "state"
        )
        self._build = _Build()
        self._registry.register(self._build)
        self.gpu_used_memory = gauge(
            "asr_gpu_used_memory_bytes", "GPU memory in use by all processes.", "gpu"
        )
        self.gpu_memory = gauge("asr_gpu_memory_bytes", "GPU memory in total.", "gpu")
        self.gpu_utilization = gauge(
            "asr_gpu_utilization_ratio",
            "Share of the driver's last sample period in which the GPU was busy, 0 to 1.",
            "gpu",
        )
        self.event_loop_lag = histogram(
            "asr_event_loop_lag_seconds",
            "Delay of the event loop in waking a task that slept for a second.",
            LAG_BUCKETS_S,
        )
        prometheus.ProcessCollector(registry=self._registry)
        # A rate misses the first increment of a series that did not exist before: create them.
        for code in OUR_ERRORS | REFUSALS:
            self.errors.labels(code)
        for door in get_args(Door):
            self.opened_tasks.labels(door)
        for second_pass_outcome in get_args(SecondPassOutcome):
            self.second_pass.labels(second_pass_outcome)
        for outcome in get_args(Outcome):
            self.tasks.labels(outcome)
            self.audio.labels(outcome)

    def watch_state(self, read: Callable[[], ServerState]) -> None:
        """Export the server's state, which `read` returns."""

        def holds(state: ServerState) -> Callable[[], float]:
            return lambda: read() == state

        for state in get_args(ServerState):
            self._state.labels(state).set_function(holds(state))

    def watch_build(self, read: Callable[[], Mapping[str, str]]) -> None:
        """Export the labels that `read` returns: `version`, `model`, `device` and so on."""
        self._build.read = read

    def stepped(self, duration_s: float, chunks: int, waited_s: float, workers: int) -> None:
        """Count a decoding step on one of so many workers."""
        self.step_duration.observe(duration_s)
        self.busy.inc(duration_s / workers)
        self.step_chunks.observe(chunks)
        self.queue_age.observe(waited_s)

    def second_pass_ended(self, outcome: SecondPassOutcome, characters: int, changed: int) -> None:
        """Count a second pass, with the characters of its final and how many of them changed."""
        self.second_pass.labels(outcome).inc()
        self.second_pass_characters.inc(characters)
        self.second_pass_changed.inc(changed)

    def ended(self, outcome: Outcome, audio_s: float) -> None:
        """Count the end of a task."""
        self.tasks.labels(outcome).inc()
        self.audio.labels(outcome).inc(audio_s)

    async def watch_loop(self) -> None:
        """Sample the event loop's lag until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            self.event_loop_lag.observe(max(0.0, clock() - due))

    def families(self) -> Iterator[prometheus.Metric]:
        """Yield all metrics with their names, help texts and current samples."""
        yield from self._registry.collect()

    def text(self) -> bytes:
        """Return the current samples of all metrics in Prometheus's text format."""
        return prometheus.generate_latest(self._registry)


class _Build(Collector):
    """Export labels that are read at each scrape: a restart may change the device."""

    def __init__(self) -> None:
        self.read: Callable[[], Mapping[str, str]] = dict

    def collect(self) -> Iterator[prometheus.Metric]:
        yield InfoMetricFamily(
            "asr_build",
            "Version, model, device, dtype, and whether there is a second pass.",
            dict(self.read()),
        )
