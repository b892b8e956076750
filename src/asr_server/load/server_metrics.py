"""Samples of a server's `/metrics`, where it is an asr-server that exposes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from asr_server.capacity import Setup

TIMEOUT_S = 2.0
FIELDS = {
    "rss_bytes": "process_resident_memory_bytes",
    "open_files": "process_open_fds",
    "open_tasks": "asr_open_tasks",
    "step_s": "asr_step_duration_seconds_sum",
    "busy_s": "asr_busy_seconds_total",
    "steps": "asr_step_duration_seconds_count",
    "chunks": "asr_step_chunks_sum",
    "chunk_steps": "asr_step_chunks_count",
    "dropped_previews": "asr_dropped_previews_total",
}
"""The metrics of a sample by the name used here."""

MetricsSample: TypeAlias = dict[str, float]
"""The FIELDS at one moment; counters count from the server's start."""


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
    values = await scrape(url)
    found = {field: values.get(name, 0.0) for field, name in FIELDS.items()}
    return found if FIELDS["steps"] in values else None


async def scrape(url: str) -> dict[str, float]:
    """Return every sample at `/metrics` by `name` or `name{label}`; empty without an answer."""
    return {
        one.name + (f"{{{','.join(one.labels.values())}}}" if one.labels else ""): one.value
        for one in await _samples(url)
    }


async def setup(url: str) -> Setup | None:
    """Return the model, device and precision of a server on this machine, None if unknown."""
    found = (one.labels for one in await _samples(url) if one.name == "asr_build_info")
    build = next(found, {})
    if not all(names := [build.get(name, "") for name in ("model", "device", "dtype")]):
        return None
    return Setup.here(*names)


async def _samples(url: str) -> Sequence[Sample]:
    try:
        address = metrics_url(url)
        encrypted = address.startswith("https:")  # loading certificates blocks for 45 ms
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, verify=encrypted) as client:
            answer = await client.get(address)
        if answer.status_code != 200:
            return []
        families = text_string_to_metric_families(answer.text)
        return [one for family in families for one in family.samples]
    except (httpx2.HTTPError, ValueError):
        return []


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
    if first is None or last is None or last["steps"] < first["steps"]:  # a restarted server
        return None
    grown = {field: last[field] - first[field] for field in FIELDS}
    return ServerFigures(
        rss_mb=last["rss_bytes"] / 2**20,
        step_ms=1000 * grown["step_s"] / max(1.0, grown["steps"]),
        busy=grown["busy_s"] / seconds,
        chunks_a_step=grown["chunks"] / max(1.0, grown["chunk_steps"]),
        dropped_previews=int(grown["dropped_previews"]),
    )
