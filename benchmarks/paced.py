"""Summarise runs of paced streams: real-time streams whose chunks are evenly spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from benchmarks.goals import CHUNK_DELAY_S


@dataclass(frozen=True, slots=True)
class Run:
    """Hold the figures of one run in real time."""

    streams: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    computed: float
    """Share of the due chunks that were decoded by the end."""
    busy: float
    """Share of the cores' time that was used."""
    tokens_a_chunk: float
    chunks_a_step: float = 1.0
    others: float = 0.0
    """Share of the cores' time that other processes and other guests of the host used."""

    @property
    def sustained(self) -> bool:
        """Return whether the chunks kept the delay goal."""
        return self.p95_ms < 1000 * CHUNK_DELAY_S and self.computed > 0.9


def summary(streams: int, seconds: float, answers: Sequence[dict[str, Any]]) -> Run:
    """Return one run's figures from its processes' answers; the first half is warm-up."""
    latencies = [late for one in answers for due, late in one["latencies"] if due > seconds / 2]
    if len(latencies) < 2:
        latencies = [seconds, seconds]
    cuts = quantiles([1000 * late for late in latencies], n=100, method="inclusive")
    chunks = sum(len(one["latencies"]) for one in answers)
    return Run(
        streams,
        cuts[49],
        cuts[94],
        cuts[98],
        chunks / sum(one["due"] for one in answers),
        sum(one["busy"] for one in answers) / len(answers),
        sum(one["tokens"] for one in answers) / max(1, chunks),
        answers[0].get("batch", 1.0),
    )
