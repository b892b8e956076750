"""Run the levels of `asr-server bench`, show them, and conclude."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live

from asr_server import capacity
from asr_server.cli.options import err, load_settings
from asr_server.load import report, server_metrics
from asr_server.load.client_run import Target
from asr_server.load.load_generator import LoadGenerator, warm_up
from asr_server.load.recordings import Recording

out = Console(highlight=False)

NOT_MEASURED, GOALS_BROKEN = 1, 3
"""Exit statuses; 2 is typer's for an invalid command."""
REFRESHES_PER_S = 2
REST_S = 2.0
"""Pause between two levels, for an overloaded server to work off its queues."""


async def measure(
    run: report.Run,
    target: Target,
    recordings: Sequence[Recording],
    plan: Callable[[], int | None],
) -> None:
    """Run level after level; end early where nothing can be measured."""
    await warm_up(target, recordings)
    while (streams := plan()) is not None:
        if run.levels:
            await asyncio.sleep(REST_S)
        generator = LoadGenerator(target, recordings, streams, run.seconds)
        view = Live(
            console=out,
            get_renderable=partial(_view, generator, run),
            refresh_per_second=REFRESHES_PER_S,
            transient=True,
        )
        with view if out.is_terminal else nullcontext():
            level = await generator.run(run.goals)
        run.levels.append(level)
        if not out.is_terminal:
            err.print(f"{streams} streams: {report.outcome(level, run.goals)}")
        if not level.clients.finished and not any(run.tried.values()):
            break


def _view(generator: LoadGenerator, run: report.Run) -> RenderableType:
    """Return a level's figures while it runs, on the thread of the terminal."""
    now, figures, goals = generator.clock(), generator.figures(), run.goals
    if now < generator.measured_from:
        phase = f"opening streams, {generator.measured_from - now:.0f} s"
    else:
        phase = f"measuring, {max(0.0, generator.measured_until - now):.0f} s"
    return Group(
        *([report.table(run.levels, goals)] if run.levels else []),
        f"[bold]{generator.streams} streams[/]: {generator.open} open, {phase}; "
        f"{figures.finished} finished, {figures.refused} refused, "
        f"{sum(figures.failed.values())} failed",
        f"first text {report.latency(figures.first_text, goals.first_text_s)}   "
        f"final {report.latency(figures.final, goals.final_s)}   "
        f"tail {report.latency(figures.tail, goals.tail_s)} ms   "
        f"this program late by {1000 * (figures.late.p99 or 0.0):.0f} ms (p99)",
    )


def save(run: report.Run) -> None:
    """Keep the held streams as this machine's capacity, or print why not."""
    setup = asyncio.run(server_metrics.setup(run.url))
    if not run.streams_held or setup is None:
        why = "its /metrics do not name a model" if run.streams_held else "no number held"
        err.print(f"[bold red]Not saved:[/] {why}")
        return
    file = Path(load_settings().capacity_file)
    capacity.save(file, setup, run.streams_held)
    out.print(f"Saved to {file}: {setup.model}, {setup.dtype}, on {setup.machine}")


def verdict(run: report.Run, require: int) -> int:
    """Print the conclusion and return the exit status."""
    level, most = run.levels[-1], run.streams_held
    if most is not None:
        more = (level for level in run.levels if level.streams > most)
        level = min(more, key=lambda level: level.streams, default=level)
        out.print(f"[bold]{most} streams held[/]")
    unmeasured = True
    if level.clients.unreliable(run.goals):
        late = 1000 * (level.clients.late.p99 or 0.0)
        err.print(
            f"[bold red]Not measured:[/] with {level.streams} streams this program itself was "
            f"{late:.0f} ms late (p99). Run bench on another machine, or with fewer streams."
        )
    elif not level.clients.finished:
        err.print(f"[bold red]Not measured:[/] {'; '.join(level.broken)}")
    else:
        unmeasured = False
    if most >= max(require, 1) if most is not None else level.held and not unmeasured:
        return 0
    return NOT_MEASURED if unmeasured else GOALS_BROKEN
