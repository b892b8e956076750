"""Measure a server's resident memory: at rest, with streams open, and after thousands of them.

    python -m benchmarks.memory                     writes benchmarks/results/memory.json

The server is a process of its own, with full-size weights, and shows its memory at /metrics;
clients stream over WebSocket.
"""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from asr_server.audio.units import SAMPLE_RATE
from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from asr_server.load.recordings import FRAME_S, Recording
from asr_server.process import heap_trim
from benchmarks.environment import describe
from benchmarks.full_size import full_size, speech
from benchmarks.server_process import server_process

RESULTS = Path("benchmarks/results/memory.json")
STREAMED_S = 6.0
"""Audio of each open stream, enough to use all of its state."""
AT_ONCE = 16
WITH_SPEECH = 10
"""Of the short streams every tenth has a syllable; the others are too short for one."""
SAMPLES = 40
TRIMMED_S = heap_trim.PERIOD_S + 5
"""Until the server has returned freed memory, in which new streams would find room."""

console = Console(highlight=False)


def recording(seconds: float, begin_s: float = 0.0) -> Recording:
    """Return a piece of the benchmark's speech."""
    begin = int(begin_s * SAMPLE_RATE)
    pcm = (speech()[begin : begin + int(seconds * SAMPLE_RATE)] * 32_767).astype("<i2")
    frame = int(FRAME_S * SAMPLE_RATE)
    frames = (pcm[place : place + frame].tobytes() for place in range(0, len(pcm), frame))
    return Recording("speech", tuple(frames), ())


async def resident_mb(target: Target) -> float:
    """Return the server's resident memory now, in MB of a million bytes."""
    reading = await server_metrics.sample(target.url)
    if reading is None:
        raise RuntimeError("the server shows no figures")
    return reading["rss_bytes"] / 1e6


async def with_streams_open(target: Target, streams: int) -> float:
    """Return the peak memory while so many streams are open."""
    recordings = [recording(STREAMED_S, 0.37 * number) for number in range(streams)]
    tasks = [asyncio.create_task(run_client(target, one), name="stream") for one in recordings]
    most = 0.0
    while not all(task.done() for task in tasks):
        most = max(most, await resident_mb(target))
        await asyncio.sleep(0.3)
    failed = [task.result().error for task in tasks if task.result().error]
    if failed:
        raise RuntimeError(f"{len(failed)} streams failed, the first with {failed[0]}")
    return most


async def opened_and_closed(target: Target, streams: int) -> list[tuple[int, float]]:
    """Return the memory at `SAMPLES` moments of `streams` short streams."""
    syllable, silence = recording(0.8), recording(0.1)
    at_once = replace(target, pace=0)
    numbers = iter(range(streams))
    failed: list[str] = []

    async def client() -> None:
        for number in numbers:
            record = await run_client(at_once, silence if number % WITH_SPEECH else syllable)
            if record.error:
                failed.append(record.error)
            if number % (streams // SAMPLES) == 0:
                seen.append((number, await resident_mb(target)))

    seen: list[tuple[int, float]] = []
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    if failed:
        raise RuntimeError(f"{len(failed)} streams failed, the first with {failed[0]}")
    return sorted(seen)


async def measure(url: str, streams: int, churn: int) -> dict[str, Any]:
    """Return the figures of one server."""
    target = Target(url)
    await asyncio.sleep(TRIMMED_S)
    rest = await resident_mb(target)
    await with_streams_open(target, 1)  # the first one also takes what all share
    await asyncio.sleep(TRIMMED_S)
    first = await resident_mb(target)
    most = await with_streams_open(target, streams)
    seen = await opened_and_closed(target, churn) if churn else []
    return {
        "rest_mb": rest,
        "after_first_mb": first,
        "streams": streams,
        "open_mb": most,
        "a_stream_mb": (most - first) / streams,
        "churn": seen,
    }


def main(
    model: Annotated[Path | None, typer.Option(help="Instead of full-size weights.")] = None,
    dtypes: Annotated[str, typer.Option(help="Separated by commas.")] = "int8,bfloat16",
    streams: Annotated[int, typer.Option(help="Open at once.")] = 24,
    churn: Annotated[int, typer.Option(help="Opened and closed, in the first dtype.")] = 10_000,
    to: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULTS,
) -> None:
    """Measure and write."""
    rows = []
    for dtype in dtypes.split(","):
        arguments = ("--model", str(model or full_size()), "--dtype", dtype)
        settings = {
            "ASR_MAX_TASKS": "64",
            "ASR_MAX_DELAY_MS": "0",
            "ASR_DATABASE_URL": "sqlite://",
        }
        with server_process(Path("build/memory-server.log"), *arguments, **settings) as at:
            row = asyncio.run(measure(at.url, streams, churn))
        churn = 0
        rows.append({"dtype": dtype, **row})
        console.print(
            f"{dtype}: {row['rest_mb']:.0f} MB at rest, {row['a_stream_mb']:.1f} MB a stream"
        )
        if seen := row["churn"]:
            figures = np.array([mb for _, mb in seen])
            early, late = figures[8:16].mean(), figures[-8:].mean()
            console.print(f"  after {seen[-1][0]} streams {late:.1f} MB, earlier {early:.1f} MB")
    to.parent.mkdir(exist_ok=True)
    report = {"environment": describe(), "rows": rows}
    to.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    typer.run(main)
