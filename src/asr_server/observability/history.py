"""The last ten minutes in figures: what /metrics counts, as rates and quantiles over time.

For people who look at a server without Prometheus; nothing here outlives the process.
"""

import asyncio
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from asr_server.observability.metrics import OUR_ERRORS, REFUSALS, Metrics

PERIOD_S = 5.0
"""Time between two points."""
POINTS = 120
"""Points kept: ten minutes."""
WINDOW = 6
"""Periods that a point's rates and quantiles look back, 30 s: fewer would hold too few events."""

Buckets: TypeAlias = list[tuple[float, float]]
"""Upper bounds of a histogram's buckets, ascending, and how many were at or below each."""


@dataclass(frozen=True, slots=True)
class Point:
    """The server at one moment; None where there was nothing to measure."""

    at_s: float
    """On the monotonic clock."""
    connections: float
    tasks: float
    used_slots: float
    slots: float
    busy: float | None
    """Share of the time in which the device computed."""
    real_time_factor: float | None
    """Seconds of the device per second of audio."""
    first_text_p50_s: float | None
    first_text_p95_s: float | None
    final_p50_s: float | None
    final_p95_s: float | None
    tail_p50_s: float | None
    tail_p95_s: float | None
    queue_age_p95_s: float | None
    loop_lag_p95_s: float | None
    own_errors_per_min: float | None
    refusals_per_min: float | None
    client_errors_per_min: float | None
    memory_bytes: float | None
    gpu_used_memory_bytes: float | None
    gpu_memory_bytes: float | None
    gpu_utilization: float | None


class Reading:
    """All figures at one moment, in seconds on the monotonic clock."""

    def __init__(self, metrics: Metrics, at_s: float) -> None:
        self.at_s = at_s
        self.build: dict[str, str] = {}
        """What runs: version, model, device, dtype."""
        self._samples: dict[str, dict[str, float]] = {}
        self._buckets: dict[str, Buckets] = {}
        for family in metrics.families():
            for sample in family.samples:
                if sample.name == "asr_build_info":
                    self.build = sample.labels
                elif "le" in sample.labels:
                    bucket = (float(sample.labels["le"]), sample.value)
                    self._buckets.setdefault(family.name, []).append(bucket)
                else:
                    label = "".join(sample.labels.values())
                    self._samples.setdefault(sample.name, {})[label] = sample.value

    def labelled(self, name: str) -> Mapping[str, float]:
        """A sample by the value of its label; empty before the first is counted."""
        return self._samples.get(name, {})

    def get(self, name: str) -> float | None:
        """A sample, summed over its label; None where there is none."""
        values = self.labelled(name).values()
        return sum(values) if values else None

    def total(self, name: str) -> float:
        """As `get`, and 0 for what was never counted."""
        return self.get(name) or 0.0

    def buckets_since(self, older: "Reading", histogram: str) -> Buckets:
        """What a histogram got since an older reading."""
        pairs = zip(self._buckets[histogram], older._buckets[histogram], strict=True)
        return [(bound, count - before) for (bound, count), (_, before) in pairs]

    @property
    def state(self) -> str:
        """What the server was doing."""
        states = self.labelled("asr_server_state").items()
        return next((state for state, holds in states if holds), "loading")


class History:
    """The points of the last ten minutes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._readings: deque[Reading] = deque(maxlen=WINDOW + 1)
        self.points: deque[Point] = deque(maxlen=POINTS)
        """Oldest first; there is always one."""
        self.began_s = time.monotonic()
        self.sample(self.began_s)

    async def watch(self) -> None:
        """Add a point every period until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.sample(time.monotonic())

    def sample(self, now_s: float) -> None:
        """Add a point."""
        self._readings.append(Reading(self._metrics, now_s))
        self.points.append(_point(self._readings[0], self._readings[-1]))

    @property
    def latest(self) -> Reading:
        """The figures behind the last point."""
        return self._readings[-1]


def quantile(share: float, buckets: Buckets) -> float | None:
    """The value that `share` of what was observed does not exceed; None if nothing was observed.

    Interpolated inside a bucket as Prometheus's `histogram_quantile` does; what lies beyond the
    last finite bound counts as that bound.
    """
    total = buckets[-1][1]
    if total <= 0:
        return None
    rank = share * total
    lower, below = 0.0, 0.0
    for bound, count in buckets[:-1]:
        if count >= rank:
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


def _point(older: Reading, newer: Reading) -> Point:
    """The server at the newer reading; rates and quantiles are about the time since the older."""
    elapsed_s = newer.at_s - older.at_s

    def growth(name: str) -> float:
        return newer.total(name) - older.total(name)

    def latency(name: str, share: float) -> float | None:
        return quantile(share, newer.buckets_since(older, f"asr_{name}_seconds"))

    def errors_per_min(codes: Collection[str]) -> float | None:
        now, before = newer.labelled("asr_errors_total"), older.labelled("asr_errors_total")
        count = sum(now[code] - before.get(code, 0.0) for code in codes if code in now)
        return 60 * count / elapsed_s if elapsed_s else None

    computed_s = growth("asr_busy_seconds_total")
    heard_s = growth("asr_received_audio_seconds_total")
    theirs = newer.labelled("asr_errors_total").keys() - OUR_ERRORS - REFUSALS
    return Point(
        at_s=newer.at_s,
        connections=newer.total("asr_open_connections"),
        tasks=newer.total("asr_open_tasks"),
        used_slots=newer.total("asr_used_slots"),
        slots=newer.total("asr_slots"),
        busy=computed_s / elapsed_s if elapsed_s else None,
        real_time_factor=computed_s / heard_s if heard_s else None,
        first_text_p50_s=latency("first_text_latency", 0.5),
        first_text_p95_s=latency("first_text_latency", 0.95),
        final_p50_s=latency("final_latency", 0.5),
        final_p95_s=latency("final_latency", 0.95),
        tail_p50_s=latency("tail_latency", 0.5),
        tail_p95_s=latency("tail_latency", 0.95),
        queue_age_p95_s=latency("queue_age", 0.95),
        loop_lag_p95_s=latency("event_loop_lag", 0.95),
        own_errors_per_min=errors_per_min(OUR_ERRORS),
        refusals_per_min=errors_per_min(REFUSALS),
        client_errors_per_min=errors_per_min(theirs),
        memory_bytes=newer.get("process_resident_memory_bytes"),
        gpu_used_memory_bytes=newer.get("asr_gpu_used_memory_bytes"),
        gpu_memory_bytes=newer.get("asr_gpu_memory_bytes"),
        gpu_utilization=newer.get("asr_gpu_utilization_ratio"),
    )
