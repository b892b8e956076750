"""Latency as a client sees it: each recording of a manifest once, against a running server.

    asr-server serve --model demo --port 8001 &
    python -m benchmarks.latency build/demo_model/test_sets/A.jsonl --url ws://127.0.0.1:8001/...

`asr-server bench` measures for a stretch of time; this says every recording the same number of
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
"""Quiet that follows every recording, so that its last sentence ends by itself."""
APART_S = 0.137
"""Microphones do not start together."""


async def load(
    target: Target, recordings: list[Recording], streams: int, tasks: int
) -> list[TaskRecord]:
    """`tasks` tasks, at most `streams` of them at once, each starting when a place is free."""
    places = asyncio.Semaphore(streams)

    async def one(number: int, recording: Recording) -> TaskRecord:
        await asyncio.sleep(min(number, streams) * APART_S)
        async with places:
            return await run_client(target, recording)

    chosen = islice(cycle(recordings), tasks)
    return await asyncio.gather(
        *(one(number, recording) for number, recording in enumerate(chosen))
    )


def row(name: str, seen: Percentiles, less_s: float = 0.0) -> list[str]:
    """p50, p95, p99 in milliseconds."""
    shown = (seen.p50, seen.p95, seen.p99)
    return [name, *("-" if p is None else f"{1000 * (p - less_s):.0f}" for p in shown)]


def main(
    manifest: Annotated[Path, typer.Argument(help="JSONL with `characters`.")],
    url: str = "ws://127.0.0.1:8000/api-ws/v1/inference",
    streams: Annotated[int, typer.Option(help="Clients at once.")] = 4,
    tasks: Annotated[int, typer.Option(help="Recordings to send.")] = 24,
    silence_ms: Annotated[int, typer.Option(help="max_sentence_silence.")] = 800,
) -> None:
    """Measure and print percentiles."""
    recordings = read_recordings([manifest], SILENCE_AFTER_S, silence_ms / 1000)[:tasks]
    target = Target(url, parameters={"max_sentence_silence": silence_ms})
    records = asyncio.run(load(target, list(recordings), streams, tasks))
    seen = figures(records, -math.inf, math.inf)
    console = Console(width=110)
    console.print(
        f"{streams} clients at once, {tasks} tasks, silence {silence_ms} ms; {describe()}"
    )
    table = Table("ms", "p50", "p95", "p99")
    table.add_row(*row("first text", seen.first_text))
    table.add_row(*row("final", seen.final))
    table.add_row(*row("final beyond the silence", seen.final, silence_ms / 1000))
    table.add_row(*row("tail", seen.tail))
    table.add_row(*row("late by this program's own fault", seen.late))
    console.print(table)
    console.print(f"{revised(seen)}; {seen.refused} refused, failed: {seen.failed or 0}")


if __name__ == "__main__":
    typer.run(main)
