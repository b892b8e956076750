"""`asr-server bench`: how many people can speak at once before a server's answers come too late."""

import asyncio
from collections.abc import Callable
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live

from asr_server.cli.options import err

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asr_server.load.crowd import Crowd, Level
    from asr_server.load.figures import Goals
    from asr_server.load.recordings import Recording
    from asr_server.load.speaker import Target

out = Console(highlight=False)

app = typer.Typer()

NOT_MEASURED, GOALS_BROKEN = 1, 3
"""Exit statuses; 2 is typer's for a command that makes no sense."""
REFRESH_S = 0.5
REST_S = 2.0
"""Between two levels, so that a server which was overloaded can breathe out."""


class Ramp(str, Enum):
    """How the number of streams grows."""

    binary = "binary"
    linear = "linear"


@app.command(
    epilog="""
[bold]What is measured[/]

first text   from the frame with the first speech to the first text; goal: p95 under 600 ms

final        from the frame with the last speech to the final, max_sentence_silence included; goal:
p95 under that silence + 150 ms

tail         from finish-task to task-finished; goal: p95 under 150 ms

Every client sends 100 ms of sound every 100 ms, as a microphone does, whatever the server does.
Speech begins and ends where a manifest says, else where the recording is loud.

[bold]Examples[/]

asr-server bench                                   4 people for 30 s, against ws://127.0.0.1:8000

asr-server bench --streams 40 --seconds 120        40 people for two minutes

asr-server bench --ramp binary                     how many it holds: doubles, then halves the gap

asr-server bench --ramp linear --step 8 --plot curve.png         the whole curve; PNG, SVG or HTML

asr-server bench ws://asr.example.com:8000 --recordings calls/ --recordings test.jsonl

asr-server bench --ramp binary --require 50 --json held.json     in CI: exit status 3 below 50

asr-server bench wss://dashscope.aliyuncs.com/api-ws/v1/inference --api-key sk-...    Alibaba's own

Run it on another machine than the server: here they share the cores. If this program falls behind
its own schedule it says so and blames nobody else.

[bold]Exit status[/]: 0 goals kept, 1 could not be measured, 2 the command makes no sense, 3 goals
broken (with --ramp: fewer streams than --require).
"""
)
def bench(
    url: Annotated[
        str, typer.Argument(help="Address of any server that speaks DashScope's protocol.")
    ] = "ws://127.0.0.1:8000",
    streams: Annotated[
        int, typer.Option(min=1, help="People who speak at once; with --ramp, at first.")
    ] = 4,
    ramp: Annotated[
        Ramp | None,
        typer.Option(
            help="Add streams until a goal breaks: `binary` finds the number in the fewest "
            "tries, `linear` takes even steps and shows the curve."
        ),
    ] = None,
    step: Annotated[int, typer.Option(min=1, help="Streams added by `--ramp linear`.")] = 8,
    most: Annotated[int, typer.Option(min=1, help="Where a ramp ends at the latest.")] = 512,
    seconds: Annotated[
        float, typer.Option(min=1, help="Measured for that long, once all have joined.")
    ] = 30,
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            help="Recording, folder or manifest (.json, .jsonl with `file`, and `sentences` or "
            "`characters` with begin_ms and end_ms); may be repeated.",
            show_default="the demo page's",
        ),
    ] = None,
    quiet: Annotated[
        float, typer.Option(min=0, help="Seconds of silence after each recording.")
    ] = 2.0,
    api_key: Annotated[str | None, typer.Option(envvar="ASR_API_KEY", help="If it needs one.")] = (
        None
    ),
    model: Annotated[str, typer.Option(help="Name to ask for.")] = "paraformer-realtime-v2",
    silence_ms: Annotated[
        int, typer.Option(min=200, max=6000, help="max_sentence_silence of every task.")
    ] = 800,
    goal_first_text_ms: Annotated[float, typer.Option(help="Goal for p95.")] = 600,
    goal_final_ms: Annotated[
        float, typer.Option(help="Goal for p95, beyond max_sentence_silence.")
    ] = 150,
    goal_tail_ms: Annotated[float, typer.Option(help="Goal for p95.")] = 150,
    most_late_ms: Annotated[
        float,
        typer.Option(
            help="How late this program may send (p99) by its own fault and still be believed."
        ),
    ] = 50,
    require: Annotated[
        int, typer.Option(min=0, help="Streams that a ramp must hold for exit status 0.")
    ] = 0,
    json: Annotated[Path | None, typer.Option(help="Write all figures there.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw them: .png, .svg or .html. Needs matplotlib.")
    ] = None,
) -> None:
    """Measure how many streams a server holds, and how quickly it answers them."""
    from asr_server.load import plot as plotting
    from asr_server.load import report
    from asr_server.load.figures import Goals
    from asr_server.load.recordings import read_recordings
    from asr_server.load.search import held
    from asr_server.load.speaker import Target
    from asr_server.recordings.client import endpoint
    from asr_server.recordings.files import RecordingError

    if require and ramp is None:
        raise typer.BadParameter("is for --ramp", param_hint="--require")
    if plot is not None and plot.suffix not in plotting.SUFFIXES:
        raise typer.BadParameter("end it with .png, .svg or .html", param_hint="--plot")
    if plot is not None and not plotting.available():
        raise typer.BadParameter(plotting.MISSING, param_hint="--plot")
    try:
        spoken = read_recordings(recordings or [], quiet, silence_ms / 1000)
    except RecordingError as exc:
        raise typer.BadParameter(str(exc), param_hint="--recordings") from exc
    goals = Goals(
        goal_first_text_ms / 1000,
        (silence_ms + goal_final_ms) / 1000,
        goal_tail_ms / 1000,
        most_late_ms / 1000,
    )
    target = Target(endpoint(url), api_key, model, {"max_sentence_silence": silence_ms})
    if not out.is_terminal:
        out.width = report.WIDTH
    number, share = report.describe(spoken)
    out.print(
        f"{report.without_key(target.url)}: {number} recordings, {share:.0%} speech, "
        f"{seconds:g} s a level, goals p95 {goal_first_text_ms:g} / {1000 * goals.final_s:g} / "
        f"{goal_tail_ms:g} ms"
    )
    levels = asyncio.run(_climb(target, spoken, goals, seconds, _plan(ramp, streams, step, most)))
    tried = {one.streams: one.held and not one.clients.own_fault(goals) for one in levels}
    run = report.Run(
        url=report.without_key(target.url),
        model=model,
        pause_ms=silence_ms,
        seconds=seconds,
        recordings=number,
        spoken=share,
        goals=goals,
        levels=tuple(levels),
        streams_held=held(tried) if ramp else None,
        measured_by=report.this_machine(),
    )
    out.print(report.table(levels, goals))
    out.print(report.revised(levels[-1].clients))
    if json is not None:
        report.write_json(run, json)
    if plot is not None:
        plotting.write_plot(run, plot)
    raise typer.Exit(_verdict(run.streams_held, levels, goals, require))


def _plan(
    ramp: Ramp | None, streams: int, step: int, most: int
) -> "Callable[[dict[int, bool]], int | None]":
    """What to try after what has been tried."""
    from asr_server.load.search import binary, linear

    def plan(tried: dict[int, bool]) -> int | None:
        if not tried:
            return streams
        match ramp:
            case Ramp.binary:
                return binary(tried, streams, most)
            case Ramp.linear:
                return linear(tried, step, most)
            case None:
                return None

    return plan


async def _climb(
    target: "Target",
    recordings: "tuple[Recording, ...]",
    goals: "Goals",
    seconds: float,
    plan: "Callable[[dict[int, bool]], int | None]",
) -> "list[Level]":
    """Level after level; ends early where nothing can be measured."""
    from asr_server.load.crowd import Crowd, warm_up
    from asr_server.load.report import outcome

    levels: list[Level] = []
    tried: dict[int, bool] = {}
    await warm_up(target, recordings)
    while (streams := plan(tried)) is not None:
        if levels:
            await asyncio.sleep(REST_S)
        crowd = Crowd(target, recordings, streams, seconds)
        with _watched(crowd, levels, goals):
            level = await crowd.hold(goals)
        levels.append(level)
        tried[streams] = level.held and not level.clients.own_fault(goals)
        if not out.is_terminal:
            err.print(f"{streams} streams: {outcome(level, goals)}")
        if not level.clients.finished and not any(tried.values()):
            break
    return levels


@contextmanager
def _watched(crowd: "Crowd", levels: "list[Level]", goals: "Goals") -> "Iterator[None]":
    """Show a level while it runs; without a terminal, nothing before it is over."""
    if not out.is_terminal:
        yield
        return
    live = Live(console=out, auto_refresh=False, transient=True)

    async def refresh() -> None:
        while True:
            live.update(_view(crowd, levels, goals), refresh=True)
            await asyncio.sleep(REFRESH_S)

    with live:
        refreshing = asyncio.ensure_future(refresh())
        try:
            yield
        finally:
            refreshing.cancel()


def _view(crowd: "Crowd", levels: "list[Level]", goals: "Goals") -> RenderableType:
    from asr_server.load.report import latency, table

    now = asyncio.get_running_loop().time()
    seen = crowd.figures()
    if now < crowd.full:
        phase = f"joining, {crowd.full - now:.0f} s"
    else:
        phase = f"measuring, {max(0.0, crowd.until - now):.0f} s"
    late = 1000 * (seen.late.p99 or 0.0)
    return Group(
        *([table(levels, goals)] if levels else []),
        f"[bold]{crowd.streams} streams[/]: {crowd.open} open, {phase}; {seen.finished} finished, "
        f"{seen.refused} refused, {sum(seen.failed.values())} failed",
        f"first text {latency(seen.first_text, goals.first_text_s)}   "
        f"final {latency(seen.final, goals.final_s)}   "
        f"tail {latency(seen.tail, goals.tail_s)} ms   this program late by {late:.0f} ms (p99)",
    )


def _verdict(streams_held: int | None, levels: "list[Level]", goals: "Goals", require: int) -> int:
    """Say what it comes to; the exit status."""
    if streams_held is None:
        level = levels[-1]
    else:
        more = (level for level in levels if level.streams > streams_held)
        level = min(more, key=lambda level: level.streams, default=levels[-1])
        out.print(f"[bold]{streams_held} streams held[/]")
    unmeasured = level.clients.own_fault(goals) or not level.clients.finished
    if level.clients.own_fault(goals):
        late = 1000 * (level.clients.late.p99 or 0.0)
        err.print(
            f"[bold red]Not measured:[/] with {level.streams} streams this program was itself "
            f"{late:.0f} ms late (p99). Run it on another machine, or with fewer streams."
        )
    elif unmeasured:
        err.print(f"[bold red]Not measured:[/] {'; '.join(level.broken)}")
    if streams_held is None:
        kept = level.held and not unmeasured
    else:
        kept = streams_held >= max(require, 1)
    if kept:
        return 0
    return NOT_MEASURED if unmeasured else GOALS_BROKEN
