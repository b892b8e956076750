"""Measure how late the event loop is while the engine is saturated.

    python -m benchmarks.event_loop                 writes benchmarks/results/event_loop.json

A task in the event loop of a server with full-size weights sleeps for 5 ms again and again and
notes how late it wakes. Real-time streams from another process exceed the machine's capacity.
"""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any

import typer
from rich.console import Console

from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from benchmarks.environment import describe
from benchmarks.full_size import full_size
from benchmarks.memory import recording

RESULTS = Path("benchmarks/results/event_loop.json")
SLEEP_S = 0.005
WARM_UP_S = 5.0

app = typer.Typer(help=__doc__)
console = Console(highlight=False)


async def note_lateness(late: list[float]) -> None:
    """Append how many milliseconds late each sleep ended, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + SLEEP_S
        await asyncio.sleep(SLEEP_S)
        late.append(1000 * (loop.time() - due))


def lateness(late: list[float]) -> dict[str, float]:
    """Return the number of sleeps and their lateness."""
    cuts = quantiles(late, n=1000, method="inclusive")
    return {
        "sleeps": len(late),
        "p50_ms": cuts[499],
        "p95_ms": cuts[949],
        "p99_ms": cuts[989],
        "p999_ms": cuts[998],
        "max_ms": max(late),
    }


@app.command(hidden=True)
def probe(model: str, dtype: str) -> None:
    """Serve until stdin ends; then print how late every sleep ended, in milliseconds."""
    from tests.support.serving import serving

    async def run() -> None:
        loop = asyncio.get_running_loop()
        late: list[float] = []
        settings = {"max_tasks": 256, "max_delay_ms": 0, "threads": os.cpu_count()}
        async with serving(model=model, dtype=dtype, **settings) as served:
            print(served.url, flush=True)
            await loop.run_in_executor(None, sys.stdin.readline)  # all streams are open
            sleeping = asyncio.create_task(note_lateness(late), name="lateness")
            await loop.run_in_executor(None, sys.stdin.readline)
            sleeping.cancel()
            print(json.dumps(late), flush=True)
            await loop.run_in_executor(None, sys.stdin.readline)  # the metrics have been read

    asyncio.run(run())


async def saturate(url: str, streams: int, seconds: float, begin: Any, end: Any) -> dict[str, Any]:
    """Send streams and return the server's own figures from between `begin` and `end`."""
    target = Target(url)
    total = seconds + 2 * WARM_UP_S
    recordings = [recording(total, 0.17 * number) for number in range(streams)]
    loop = asyncio.get_running_loop()
    until = loop.time() + total
    clients = (run_client(target, one, until) for one in recordings)
    tasks = [asyncio.create_task(client, name="client") for client in clients]
    await asyncio.sleep(WARM_UP_S)
    before = await server_metrics.sample(url)
    begin()
    await asyncio.sleep(seconds)
    end()
    figures = server_metrics.between(before, await server_metrics.sample(url), seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return asdict(figures) if figures else {}


@app.command()
def measure(
    model: Annotated[Path | None, typer.Option(help="Instead of full-size weights.")] = None,
    dtype: Annotated[str, typer.Option(help="As for `serve`.")] = "int8",
    streams: Annotated[int, typer.Option(help="More streams than the machine sustains.")] = 80,
    seconds: Annotated[float, typer.Option(help="Length of the measurement.")] = 20.0,
    to: Annotated[Path, typer.Option(help="The file to write.")] = RESULTS,
) -> None:
    """Measure and write the figures."""
    command = [sys.executable, "-m", "benchmarks.event_loop", "probe"]
    command += [str(model or full_size()), dtype]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def next_phase() -> None:
            stdin.write("\n")
            stdin.flush()

        url = stdout.readline().strip()
        server_figures = asyncio.run(saturate(url, streams, seconds, next_phase, next_phase))
        late = json.loads(stdout.readline())
        next_phase()
    row = {"dtype": dtype, "streams": streams, **lateness(late), "server": server_figures}
    to.parent.mkdir(exist_ok=True)
    to.write_text(json.dumps({"environment": describe(), "rows": [row]}, indent=1) + "\n", "utf-8")
    console.print(row)


if __name__ == "__main__":
    app()
