"""Samples of a server's `/metrics`, where it is an asr-server that exposes them."""

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx2
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 2.0
FIELDS = {
    "process_resident_memory_bytes": "rss_bytes",
    "process_open_fds": "open_files",
    "asr_open_tasks": "open_tasks",
    "asr_step_duration_seconds_sum": "step_s",
    "asr_busy_seconds_total": "busy_s",
    "asr_step_duration_seconds_count": "steps",
    "asr_step_chunks_sum": "chunks",
    "asr_step_chunks_count": "chunk_steps",
    "asr_dropped_previews_total": "dropped_previews",
}


@dataclass(frozen=True, slots=True)
class MetricsSample:
    """The metrics at one moment; counters count from the server's start."""

    rss_bytes: float = 0
    open_files: float = 0
    open_tasks: float = 0
    step_s: float = 0
    busy_s: float = 0
    steps: float = 0
    chunks: float = 0
    chunk_steps: float = 0
    dropped_previews: float = 0


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """The server's figures between two samples."""

    rss_mb: float
    """At the second sample."""
    step_ms: float
    """Mean of all steps."""
    busy: float
    """Device utilisation: share of the time in which it computed."""
    chunks_a_step: float
    dropped_previews: int


async def sample(url: str) -> MetricsSample | None:
    """Return the server's metrics now, or None without any."""
    found: dict[str, float] = {}
    for name, value in (await scrape(url)).items():
        if (field := FIELDS.get(name.partition("{")[0])) is not None:
            found[field] = found.get(field, 0.0) + value
    return MetricsSample(**found) if "steps" in found else None


async def scrape(url: str) -> dict[str, float]:
    """Return every sample at `/metrics` by `name` or `name{label}`; empty without an answer."""
    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.get(metrics_url(url))
        if answer.status_code != 200:
            return {}
        return {
            one.name + (f"{{{','.join(one.labels.values())}}}" if one.labels else ""): one.value
            for family in text_string_to_metric_families(answer.text)
            for one in family.samples
        }
    except (httpx2.HTTPError, ValueError):
        return {}


def metrics_url(url: str) -> str:
    """Return the address of the metrics of a server at a WebSocket address."""
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    prefix = parts.path.partition("/api-ws/")[0].rstrip("/")
    return urlunsplit((scheme, parts.netloc, f"{prefix}/metrics", "", ""))


def between(
    first: MetricsSample | None, last: MetricsSample | None, seconds: float
) -> ServerFigures | None:
    """Return the figures of the `seconds` between two samples."""
    if first is None or last is None or last.steps < first.steps:  # the server was restarted
        return None
    steps = max(1.0, last.steps - first.steps)
    return ServerFigures(
        rss_mb=last.rss_bytes / 2**20,
        step_ms=1000 * (last.step_s - first.step_s) / steps,
        busy=(last.busy_s - first.busy_s) / seconds,
        chunks_a_step=(last.chunks - first.chunks) / max(1.0, last.chunk_steps - first.chunk_steps),
        dropped_previews=int(last.dropped_previews - first.dropped_previews),
    )
