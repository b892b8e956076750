"""Measure latency as a client sees it: each recording of a manifest once, on a running server.

    asr-server serve --model demo --port 8001 &
    python -m benchmarks.latency build/demo_model/test_sets/A.jsonl --url ws://127.0.0.1:8001/...

`asr-server bench` measures for a length of time; this sends every recording the same number of
times, so that runs before and after a change can be compared. Clients and definitions are the same:
`asr_server.load`.
"""

import asyncio
import math
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from asr_server.load.client_run import Target, run_client
from asr_server.load.figures import Percentiles, figures
from asr_server.load.recordings import Recording, read_recordings
from asr_server.load.report import revised
from asr_server.load.task_record import TaskRecord
from benchmarks.environment import describe

SILENCE_AFTER_S = 2.0
"""Silence appended to every recording, so that its last sentence ends by endpointing."""
STAGGER_S = 0.137
"""Between the starts of two streams: chunks of all streams must not be due at once."""


async def send_all(
    target: Target, recordings: list[Recording], streams: int, tasks: int
) -> list[TaskRecord]:
    """Run `tasks` tasks, at most `streams` at once, and return their records."""
    free_streams = asyncio.Semaphore(streams)

    async def run_one(number: int, recording: Recording) -> TaskRecord:
        await asyncio.sleep(min(number, streams) * STAGGER_S)
        async with free_streams:
            return await run_client(target, recording)

    chosen = islice(cycle(recordings), tasks)
    return await asyncio.gather(
        *(run_one(number, recording) for number, recording in enumerate(chosen))
    )


def row(name: str, percentiles: Percentiles, minus_s: float = 0.0) -> list[str]:
    """Return p50, p95 and p99 in milliseconds, less a constant."""
    values = (percentiles.p50, percentiles.p95, percentiles.p99)
    return [name, *("-" if p is None else f"{1000 * (p - minus_s):.0f}" for p in values)]


def main(
    manifest: Annotated[Path, typer.Argument(help="JSONL with `characters`.")],
    url: str = "ws://127.0.0.1:8000/api-ws/v1/inference",
    streams: Annotated[int, typer.Option(help="Concurrent streams.")] = 4,
    tasks: Annotated[int, typer.Option(help="Recordings to send.")] = 24,
    silence_ms: Annotated[int, typer.Option(help="max_sentence_silence.")] = 800,
) -> None:
    """Measure and print percentiles."""
    recordings = read_recordings([manifest], SILENCE_AFTER_S, silence_ms / 1000)[:tasks]
    target = Target(url, parameters={"max_sentence_silence": silence_ms})
    records = asyncio.run(send_all(target, list(recordings), streams, tasks))
    seen = figures(records, -math.inf, math.inf)
    console = Console(width=110)
    console.print(f"{streams} streams, {tasks} tasks, silence {silence_ms} ms; {describe()}")
    table = Table("ms", "p50", "p95", "p99")
    table.add_row(*row("first text", seen.first_text))
    table.add_row(*row("final", seen.final))
    table.add_row(*row("final minus the silence", seen.final, silence_ms / 1000))
    table.add_row(*row("tail", seen.tail))
    table.add_row(*row("client's own send delay", seen.late))
    console.print(table)
    console.print(f"{revised(seen)}; {seen.refused} refused, failed: {seen.failed or 0}")


if __name__ == "__main__":
    typer.run(main)
