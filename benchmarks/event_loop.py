"""How late the event loop is while the engine is saturated.

    python -m benchmarks.event_loop                 writes benchmarks/results/event_loop.json

A real server with full-size weights; in its event loop a task sleeps for 5 ms again and again and
notes how late it wakes. Paced clients in another process bring more than the machine can compute.
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
NAP_S = 0.005
WARM_UP_S = 5.0

app = typer.Typer(help=__doc__)
console = Console(highlight=False)


@app.command(hidden=True)
def probe(model: str, dtype: str) -> None:
    """Serve until the standard input ends; then tell every nap's lateness in milliseconds."""
    from tests.support.serving import serving

    async def run() -> None:
        loop = asyncio.get_running_loop()
        late: list[float] = []

        async def nap() -> None:
            while True:
                due = loop.time() + NAP_S
                await asyncio.sleep(NAP_S)
                late.append(1000 * (loop.time() - due))

        settings = {"max_tasks": 256, "max_delay_ms": 0, "threads": os.cpu_count()}
        async with serving(model=model, dtype=dtype, **settings) as served:
            print(served.url, flush=True)
            await loop.run_in_executor(None, sys.stdin.readline)  # everybody speaks now
            napping = asyncio.create_task(nap(), name="nap")
            await loop.run_in_executor(None, sys.stdin.readline)
            napping.cancel()
            print(json.dumps(late), flush=True)
            await loop.run_in_executor(None, sys.stdin.readline)  # its figures have been read

    asyncio.run(run())


async def saturate(url: str, streams: int, seconds: float, begin: Any, end: Any) -> dict[str, Any]:
    """Let so many people speak; what the server says about the time between `begin` and `end`."""
    target = Target(url)
    total = seconds + 2 * WARM_UP_S
    said = [recording(total, 0.17 * number) for number in range(streams)]
    loop = asyncio.get_running_loop()
    until = loop.time() + total
    speaking = [asyncio.create_task(run_client(target, one, until), name="speak") for one in said]
    await asyncio.sleep(WARM_UP_S)
    before = await server_metrics.sample(url)
    begin()
    await asyncio.sleep(seconds)
    end()
    figures = server_metrics.between(before, await server_metrics.sample(url), seconds)
    for task in speaking:
        task.cancel()
    await asyncio.wait(speaking)
    return asdict(figures) if figures else {}


@app.command()
def measure(
    model: Annotated[Path | None, typer.Option(help="Instead of full-size weights.")] = None,
    dtype: Annotated[str, typer.Option(help="As for `serve`.")] = "int8",
    streams: Annotated[int, typer.Option(help="People at once: more than are held.")] = 80,
    seconds: Annotated[float, typer.Option(help="How long.")] = 20.0,
    to: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULTS,
) -> None:
    """Measure and write."""
    what = [str(model or full_size()), dtype]
    command = [sys.executable, "-m", "benchmarks.event_loop", "probe", *what]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def nudge() -> None:
            stdin.write("\n")
            stdin.flush()

        url = stdout.readline().strip()
        told = asyncio.run(saturate(url, streams, seconds, nudge, nudge))
        late = json.loads(stdout.readline())
        nudge()
    cuts = quantiles(late, n=1000, method="inclusive")
    row = {
        "dtype": dtype,
        "streams": streams,
        "naps": len(late),
        "p50_ms": cuts[499],
        "p95_ms": cuts[949],
        "p99_ms": cuts[989],
        "p999_ms": cuts[998],
        "max_ms": max(late),
        "server": told,
    }
    to.parent.mkdir(exist_ok=True)
    to.write_text(json.dumps({"environment": describe(), "rows": [row]}, indent=1) + "\n", "utf-8")
    console.print(row)


if __name__ == "__main__":
    app()
