"""Resident memory of a real server with full-size weights: at rest, with streams open, after many.

    python -m benchmarks.memory                     writes benchmarks/results/memory.json

The server is a process of its own and tells its memory at /metrics; clients speak over WebSocket.
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
from asr_server.load import server
from asr_server.load.recordings import FRAME_S, Recording
from asr_server.load.speaker import Target, speak
from asr_server.process import heap_trim as memory
from benchmarks.environment import describe
from benchmarks.full_size import full_size, speech
from benchmarks.server_process import server_process

RESULTS = Path("benchmarks/results/memory.json")
SPOKEN_S = 6.0
"""How long the open streams speak: past the point where all of a stream's state is in use."""
AT_ONCE = 16
SPEAKING = 10
"""Of the streams that come and go, every tenth says a syllable; the others are too short to."""
SAMPLES = 40
TRIMMED_S = memory.PERIOD_S + 5
"""Until the server has given freed memory back; holes that are left hide what streams take."""

console = Console(highlight=False)


def recording(seconds: float, begin_s: float = 0.0) -> Recording:
    """A piece of the benchmark's speech."""
    begin = int(begin_s * SAMPLE_RATE)
    pcm = (speech()[begin : begin + int(seconds * SAMPLE_RATE)] * 32_767).astype("<i2")
    frame = int(FRAME_S * SAMPLE_RATE)
    frames = (pcm[place : place + frame].tobytes() for place in range(0, len(pcm), frame))
    return Recording("speech", tuple(frames), ())


async def resident_mb(target: Target) -> float:
    """The server's resident memory now, in MB of a million bytes."""
    reading = await server.read(target.url)
    if reading is None:
        raise RuntimeError("the server shows no figures")
    return reading.rss_bytes / 1e6


async def with_streams_open(target: Target, streams: int) -> float:
    """The most memory seen while so many streams speak."""
    said = [recording(SPOKEN_S, 0.37 * number) for number in range(streams)]
    speaking = [asyncio.create_task(speak(target, one), name="speak") for one in said]
    most = 0.0
    while not all(task.done() for task in speaking):
        most = max(most, await resident_mb(target))
        await asyncio.sleep(0.3)
    failed = [task.result().error for task in speaking if task.result().error]
    if failed:
        raise RuntimeError(f"{len(failed)} streams failed, the first with {failed[0]}")
    return most


async def opened_and_closed(target: Target, streams: int) -> list[tuple[int, float]]:
    """Memory after every so many of `streams` short streams."""
    syllable, breath = recording(0.8), recording(0.1)
    at_once = replace(target, pace=0)
    numbers = iter(range(streams))
    failed: list[str] = []

    async def person() -> None:
        for number in numbers:
            account = await speak(at_once, breath if number % SPEAKING else syllable)
            if account.error:
                failed.append(account.error)
            if number % (streams // SAMPLES) == 0:
                seen.append((number, await resident_mb(target)))

    seen: list[tuple[int, float]] = []
    await asyncio.gather(*(person() for _ in range(AT_ONCE)))
    if failed:
        raise RuntimeError(f"{len(failed)} streams failed, the first with {failed[0]}")
    return sorted(seen)


async def measure(url: str, streams: int, churn: int) -> dict[str, Any]:
    """Everything about one server."""
    target = Target(url)
    await asyncio.sleep(TRIMMED_S)
    rest = await resident_mb(target)
    await with_streams_open(target, 1)  # what the first stream brings is not a stream's
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
