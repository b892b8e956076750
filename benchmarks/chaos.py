"""Measure a server at three times its capacity, and beside clients that misbehave.

    python -m benchmarks.chaos build/chaos                      everything, about ten minutes
    python -m benchmarks.chaos build/chaos --only overload --seconds 120

Overload: accepted streams keep their latency, other tasks are refused at once, and afterwards the
figures are those from before. Misbehaviour: six well-behaved streams run beside clients of each
kind; neither their latency nor a character of their text may change, the server's memory stays
bounded, and afterwards nothing stays open.
"""

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from asr_server.load.figures import Figures, figures, percentiles
from asr_server.load.load_generator import RETRY_PAUSE_S, Level, LoadGenerator
from asr_server.load.recordings import Recording, read_recordings
from asr_server.load.report import latency
from asr_server.load.search import binary, held
from asr_server.load.task_record import TaskRecord
from benchmarks.environment import describe
from benchmarks.goals import GOALS
from benchmarks.misbehaviours import MISBEHAVIOURS, Misbehaviour
from benchmarks.server_process import server_process

ACCEPTED = replace(GOALS, first_text_s=math.inf, tail_s=math.inf)
"""The promise under overload: finals in time. Previews, which bring the first text early, are
dropped first, and the delay up to which tasks are accepted adds to the first text and the tail."""
OVERLOAD = 3
"""Streams that ask for service, as a multiple of the streams the machine sustains."""
LIGHT_LOAD_S = 20.0
"""Length of the runs at a quarter of the sustained streams, before and after overload."""
REFUSED_AT_ONCE_S = 0.5
WITNESSES = 6
"""Well-behaved streams beside each misbehaviour."""
SETTLE_S = 3.0
"""Between the end of a misbehaviour and the first look at what stays open."""
WARM_UP_STREAMS, WARM_UP_S = 40, 15.0
"""Load before the misbehaviours, so that memory of ordinary load is not counted as theirs."""
WORSE_S = 0.1
"""Growth of the witnesses' p95 that counts: some twenty tasks vary by that much on their own."""
RSS_MB = 64.0
"""Growth of memory that counts: buffers of a thousand connections and their freed remains."""
TIMEOUT_S = "10"
"""`ASR_INPUT_TIMEOUT_S` and `ASR_IDLE_TIMEOUT_S` in these runs, instead of 60 s."""
LATENCIES = {"first_text": "first text", "final": "final", "tail": "tail"}
"""Fields of `Figures` and their names."""

console = Console(width=140, highlight=False)


# Overload ----------------------------------------------------------------------------------------


async def overload(
    url: str, recordings: tuple[Recording, ...], seconds: float, sustained: int
) -> dict[str, Any]:
    """Run three times the sustained streams, and a quarter of them before and after."""
    target = Target(url)
    sustained = sustained or await _sustained_streams(target, recordings)
    light = max(2, sustained // 4)
    before = await LoadGenerator(target, recordings, light, LIGHT_LOAD_S).run(GOALS)
    rss = await _rss_mb(url)
    generator = LoadGenerator(target, recordings, OVERLOAD * sustained, seconds)
    during = await generator.run(GOALS)
    rss_during = await _rss_mb(url)
    await asyncio.sleep(SETTLE_S)
    after = await LoadGenerator(target, recordings, light, LIGHT_LOAD_S).run(GOALS)
    rss_after = await _rss_mb(url)
    refusals = percentiles(a.ended - a.began for a in generator.records if a.refused and a.ended)
    _show_levels({"before": before, f"{OVERLOAD} x {sustained}": during, "after": after})
    console.print(
        f"refused after {latency(refusals, REFUSED_AT_ONCE_S)} ms; "
        f"memory {rss:.0f} MB, {rss_during:.0f} under load, {rss_after:.0f} afterwards"
    )
    problems = [
        f"overload: {one}"
        for one in during.clients.broken(ACCEPTED)
        if not one.endswith(" refused")  # refusals are expected here
    ]
    if during.clients.unreliable(GOALS):
        problems.append("overload: this program sent late; the run measured nothing")
    if not during.clients.refused:
        problems.append("overload: no task was refused")
    if (refusals.p95 or 0) > REFUSED_AT_ONCE_S:
        problems.append("overload: refusals came late")
    problems += [
        f"after overload: {one}"
        for one in after.clients.broken(ACCEPTED)
        if one not in before.clients.broken(ACCEPTED)
    ]
    # Compared with the load before: memory that many streams needed stays for as many again.
    if rss_after > rss_during + RSS_MB:
        problems.append(f"after overload: {rss_after - rss_during:.0f} MB more")
    return {
        "sustained": sustained,
        "accepted_finished": during.clients.finished,
        "refused": during.clients.refused,
        "refusal_p95_s": refusals.p95,
        **_p95(during.clients),
        "late_p99_s": during.clients.late.p99,
        "rss_mb": [rss, rss_during, rss_after],
        "problems": problems,
    }


async def _sustained_streams(target: Target, recordings: tuple[Recording, ...]) -> int:
    tried: dict[int, bool] = {}
    while (streams := binary(tried, 8, 256)) is not None:
        level = await LoadGenerator(target, recordings, streams, 10).run(GOALS)
        tried[streams] = level.held
        console.print(f"{streams} streams: {'; '.join(level.broken) or 'sustained'}")
        await asyncio.sleep(2)
    return max(1, held(tried))


# Witnesses ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observed:
    """Hold the witnesses' figures and the server's state after a misbehaviour."""

    clients: Figures
    texts: frozenset[tuple[str, tuple[str, ...]]]
    rss_mb: float
    max_rss_mb: float
    left_open: dict[str, float]
    """Connections, tasks and slots that stay open, by metric."""


async def observe(
    url: str, recordings: tuple[Recording, ...], misbehaviour: Misbehaviour, seconds: float
) -> Observed:
    """Run the witnesses beside a misbehaviour, then wait until the server has closed everything."""
    clock = asyncio.get_running_loop().time
    records: list[TaskRecord] = []
    max_rss_mb = 0.0
    async with misbehaviour(url, recordings[-1]):
        began = clock()
        until = began + seconds

        async def witness(number: int) -> None:
            await asyncio.sleep(0.37 * number)
            for turn in count(number):
                recording = recordings[turn % len(recordings)]
                if clock() + recording.duration_s >= until:
                    return
                records.append(await run_client(Target(url), recording))
                if records[-1].error is not None:
                    await asyncio.sleep(RETRY_PAUSE_S)

        witnesses = [asyncio.create_task(witness(number)) for number in range(WITNESSES)]
        while not all(task.done() for task in witnesses):
            await asyncio.sleep(0.5)
            max_rss_mb = max(max_rss_mb, await _rss_mb(url))
        for task in witnesses:
            task.result()
    await asyncio.sleep(SETTLE_S)
    left_open = await _open_counts(url)
    for _ in range(60):
        if not left_open:
            break
        await asyncio.sleep(0.5)
        left_open = await _open_counts(url)
    return Observed(
        figures(records, began, clock()),
        frozenset((one.recording.name, one.texts) for one in records if one.finished),
        await _rss_mb(url),
        max_rss_mb,
        left_open,
    )


def _no_misbehaviour(url: str, recording: Recording) -> AbstractAsyncContextManager[None]:
    return nullcontext()


async def _open_counts(url: str) -> dict[str, float]:
    """Return the metrics of open things that are not zero."""
    samples = await server_metrics.scrape(url)
    names = ("asr_open_connections", "asr_open_tasks", "asr_used_slots")
    return {name: samples[name] for name in names if samples.get(name)}


async def _rss_mb(url: str) -> float:
    reading = await server_metrics.sample(url)
    return reading["rss_bytes"] / 2**20 if reading else 0.0


def problems_of(name: str, baseline: Observed, now: Observed) -> list[str]:
    """Return how the observation differs from the baseline, in words."""
    found = [f"{count} x {error}" for error, count in now.clients.failed.items()]
    if now.clients.refused:
        found.append(f"{now.clients.refused} refused")
    for kind, label in LATENCIES.items():
        before, after = getattr(baseline.clients, kind).p95, getattr(now.clients, kind).p95
        if before is None or after is None:
            found.append(f"no {label} came")
        elif after > before + WORSE_S:
            found.append(f"{label} p95 {1000 * before:.0f} -> {1000 * after:.0f} ms")
    if different := {text for _, text in now.texts - baseline.texts}:
        found.append(f"{len(different)} different texts")
    if now.max_rss_mb > baseline.max_rss_mb + RSS_MB:
        found.append(f"memory {baseline.max_rss_mb:.0f} -> {now.max_rss_mb:.0f} MB")
    found += [f"{number:.0f} {metric} left open" for metric, number in now.left_open.items()]
    return [f"{name}: {one}" for one in found]


async def misbehave(
    url: str, recordings: tuple[Recording, ...], names: list[str], seconds: float
) -> dict[str, Any]:
    """Observe the witnesses beside each misbehaviour and compare with the baseline."""
    table = Table("beside", *LATENCIES.values(), "memory MB", "problems", box=None)
    baseline: Observed | None = None
    results: dict[str, Any] = {}
    await LoadGenerator(Target(url), recordings, WARM_UP_STREAMS, WARM_UP_S).run(GOALS)
    for name in ["nothing", *names]:
        misbehaviour = MISBEHAVIOURS[name] if name in names else _no_misbehaviour
        now = await observe(url, recordings, misbehaviour, seconds)
        baseline = baseline or now
        problems = problems_of(name, baseline, now)
        table.add_row(
            name,
            *(latency(getattr(now.clients, kind), 9) for kind in LATENCIES),
            f"{now.max_rss_mb:.0f}, after it {now.rss_mb:.0f}",
            "; ".join(problems) or "none",
        )
        console.print(f"{name}: {'; '.join(problems) or 'no problem'}")
        results[name] = {
            **_p95(now.clients),
            "tasks": now.clients.finished,
            "max_rss_mb": now.max_rss_mb,
            "rss_mb": now.rss_mb,
            "problems": problems,
        }
    console.print(table)
    return results


# Report ------------------------------------------------------------------------------------------


def _p95(clients: Figures) -> dict[str, float | None]:
    return {f"{kind}_p95_s": getattr(clients, kind).p95 for kind in LATENCIES}


def _show_levels(levels: dict[str, Level]) -> None:
    table = Table("", *LATENCIES.values(), "tasks", "refused", "failed", box=None)
    for name, level in levels.items():
        clients = level.clients
        table.add_row(
            name,
            *(latency(getattr(clients, kind), getattr(GOALS, f"{kind}_s")) for kind in LATENCIES),
            str(clients.finished),
            str(clients.refused),
            str(clients.failed or 0),
        )
    console.print(table)


def main(
    folder: Annotated[Path, typer.Argument(help="For logs and figures; made if missing.")],
    only: Annotated[
        str, typer.Option(help=f"`overload`, or of: {', '.join(MISBEHAVIOURS)}; by commas.")
    ] = "",
    seconds: Annotated[float, typer.Option(help="Length of the overload.")] = 120,
    sustained: Annotated[int, typer.Option(help="Sustained streams; 0 measures them.")] = 0,
    beside_s: Annotated[float, typer.Option(help="Length of each misbehaviour.")] = 25,
    model: Annotated[str, typer.Option(help="As for `serve`.")] = "demo",
) -> None:
    """Start a server, run overload and misbehaviours against it, and report the problems."""
    folder.mkdir(parents=True, exist_ok=True)
    names = only.split(",") if only else ["overload", *MISBEHAVIOURS]
    settings = {
        "ASR_MAX_TASKS": "1024",  # only load refuses tasks here
        "ASR_MAX_CONNECTIONS": "2000",
        "ASR_LOG_LEVEL": "warning",
        "ASR_DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
    }
    misbehaviours = [name for name in names if name != "overload"]
    results: dict[str, Any] = {"machine": describe()}
    console.print(results["machine"])
    recordings = read_recordings([], 2.0, 0.8)

    exits: list[str] = []

    def serve_and_run(
        work: Callable[[str], Coroutine[Any, Any, dict[str, Any]]], log: str, **extra: str
    ) -> dict[str, Any]:
        with server_process(folder / log, "--model", model, **settings, **extra) as process:
            result = asyncio.run(work(process.url))
            status = process.stop()
        if status not in (0, -15):
            exits.append(f"the server of {log} exited with status {status}")
        return result

    if "overload" in names:
        results["overload"] = serve_and_run(
            lambda url: overload(url, recordings, seconds, sustained), "overload.log"
        )
    if misbehaviours:
        results |= serve_and_run(
            lambda url: misbehave(url, recordings, misbehaviours, beside_s),
            "misbehaviour.log",
            ASR_INPUT_TIMEOUT_S=TIMEOUT_S,
            ASR_IDLE_TIMEOUT_S=TIMEOUT_S,
        )
    results["exits"] = {"problems": exits}
    (folder / "chaos.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    problems = [
        problem
        for result in results.values()
        if isinstance(result, dict)
        for problem in result["problems"]
    ]
    for problem in problems:
        console.print(f"[bold red]{problem}[/]")
    raise typer.Exit(1 if problems else 0)


if __name__ == "__main__":
    typer.run(main)
