"""Keep ten minutes of the metrics, as rates and quantiles over time.

For operators without Prometheus; nothing here outlives the process.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from asr_server.observability.metrics import OUR_ERRORS, REFUSALS, Metrics

PERIOD_S = 5.0
"""Time between two points."""
POINTS = 120
"""Points kept: ten minutes."""
WINDOW = 6
"""Periods over which a point's rates and quantiles are taken, 30 s: fewer hold too few events."""

Buckets: TypeAlias = list[tuple[float, float]]
"""Upper bounds of a histogram's buckets, ascending, with cumulative counts."""


class Scrape:
    """Hold all samples of one moment, in seconds on the monotonic clock."""

    def __init__(self, metrics: Metrics, at_s: float) -> None:
        self.at_s = at_s
        self.build: dict[str, str] = {}
        """The labels of asr_build_info."""
        self.samples: defaultdict[str, dict[str, float]] = defaultdict(dict)
        """The values of a metric by its label."""
        self.buckets: defaultdict[str, Buckets] = defaultdict(list)
        for family in metrics.families():
            for sample in family.samples:
                if sample.name == "asr_build_info":
                    self.build = sample.labels
                elif "le" in sample.labels:
                    bucket = (float(sample.labels["le"]), sample.value)
                    self.buckets[family.name].append(bucket)
                else:
                    label = "".join(sample.labels.values())
                    self.samples[sample.name][label] = sample.value

    def total(self, name: str) -> float | None:
        """Return a metric's sum over its label, or None without samples."""
        values = self.samples[name].values()
        return sum(values) if values else None


@dataclass(frozen=True, slots=True)
class Interval:
    """Compute rates and quantiles between two scrapes; None where nothing was observed."""

    older: Scrape
    newer: Scrape

    def growth(self, name: str, select: Callable[[str], bool] = lambda label: True) -> float:
        """Return the increase of a counter, over all selected labels."""
        now, before = self.newer.samples[name], self.older.samples[name]
        return sum(now[label] - before.get(label, 0.0) for label in now if select(label))

    def per_second(self, increase: float) -> float | None:
        """Return an increase over the interval's duration."""
        elapsed_s = self.newer.at_s - self.older.at_s
        return increase / elapsed_s if elapsed_s else None

    def busy(self) -> float | None:
        """Return the utilisation of the device, 0 to 1."""
        return self.per_second(self.growth("asr_busy_seconds_total"))

    def real_time_factor(self) -> float | None:
        """Return the seconds of computation per second of audio."""
        audio_s = self.growth("asr_received_audio_seconds_total")
        return self.growth("asr_busy_seconds_total") / audio_s if audio_s else None


Figure: TypeAlias = Callable[[Interval], float | None]


def _now(name: str) -> Figure:
    return lambda interval: interval.newer.total(name)


def _quantile(share: float, name: str) -> Figure:
    def read(interval: Interval) -> float | None:
        newer, older = (
            one.buckets[f"asr_{name}_seconds"] for one in (interval.newer, interval.older)
        )
        pairs = zip(newer, older, strict=True)
        return quantile(share, [(bound, count - before) for (bound, count), (_, before) in pairs])

    return read


def _errors(select: Callable[[str], bool]) -> Figure:
    return lambda interval: interval.per_second(60 * interval.growth("asr_errors_total", select))


FIGURES: dict[str, Figure] = {
    "connections": _now("asr_open_connections"),
    "tasks": _now("asr_open_tasks"),
    "used_slots": _now("asr_used_slots"),
    "slots": _now("asr_slots"),
    "capacity": _now("asr_capacity_streams"),
    "utilization": _now("asr_utilization_ratio"),
    "busy": Interval.busy,
    "real_time_factor": Interval.real_time_factor,
    "first_text_p50_s": _quantile(0.5, "first_text_latency"),
    "first_text_p95_s": _quantile(0.95, "first_text_latency"),
    "final_p50_s": _quantile(0.5, "final_latency"),
    "final_p95_s": _quantile(0.95, "final_latency"),
    "tail_p50_s": _quantile(0.5, "tail_latency"),
    "tail_p95_s": _quantile(0.95, "tail_latency"),
    "queue_age_p95_s": _quantile(0.95, "queue_age"),
    "loop_lag_p95_s": _quantile(0.95, "event_loop_lag"),
    "own_errors_per_min": _errors(OUR_ERRORS.__contains__),
    "refusals_per_min": _errors(REFUSALS.__contains__),
    "client_errors_per_min": _errors(lambda code: code not in OUR_ERRORS | REFUSALS),
    "memory_bytes": _now("process_resident_memory_bytes"),
    "gpu_used_memory_bytes": _now("asr_gpu_used_memory_bytes"),
    "gpu_memory_bytes": _now("asr_gpu_memory_bytes"),
    "gpu_utilization": _now("asr_gpu_utilization_ratio"),
}
"""What a point holds, by name."""


@dataclass(frozen=True, slots=True)
class Point:
    """Hold the figures of the server at one moment on the monotonic clock."""

    at_s: float
    figures: dict[str, float | None]


class History:
    """Keep the points of the last ten minutes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._scrapes: deque[Scrape] = deque(maxlen=WINDOW + 1)
        self.points: deque[Point] = deque(maxlen=POINTS)
        """Oldest first; never empty."""
        self.began_s = time.monotonic()
        self.sample(self.began_s)

    async def watch(self) -> None:
        """Add a point every period until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.sample(time.monotonic())

    def sample(self, now_s: float) -> None:
        """Add a point."""
        self.latest = Scrape(self._metrics, now_s)
        self._scrapes.append(self.latest)
        interval = Interval(self._scrapes[0], self.latest)
        self.points.append(Point(now_s, {name: read(interval) for name, read in FIGURES.items()}))


def quantile(share: float, buckets: Buckets) -> float | None:
    """Return the value that `share` of the observations does not exceed, or None without any.

    Interpolated inside a bucket as by Prometheus's `histogram_quantile`; observations beyond the
    last finite bound count as that bound.
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
