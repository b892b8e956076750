"""`asr-server bench`: how many streams a server holds within the latency goals."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live

from asr_client.protocol import DEFAULT_MODEL, DEFAULT_URL, websocket_url, without_key
from asr_server.cli.options import err
from asr_server.latency_goals import FINAL_S, FIRST_TEXT_S, TAIL_S
from asr_server.load import plot as plotting
from asr_server.load import report
from asr_server.load.client_run import Target
from asr_server.load.figures import Goals
from asr_server.load.load_generator import Level, LoadGenerator, warm_up
from asr_server.load.recordings import Recording, read_recordings
from asr_server.load.search import binary, held, linear
from asr_server.protocol.models import PARAFORMER
from asr_server.recordings.files import RecordingError

out = Console(highlight=False)

app = typer.Typer()

NOT_MEASURED, GOALS_BROKEN = 1, 3
"""Exit statuses; 2 is typer's for an invalid command."""
REFRESH_S = 0.5
REST_S = 2.0
"""Pause between two levels, for an overloaded server to work off its queues."""


class Ramp(str, Enum):
    """How the number of streams grows."""

    binary = "binary"
    linear = "linear"


@app.command(
    epilog=f"""
[bold]What is measured[/]

first text   from the frame with the first speech to the first text; goal: p95 under
{1000 * FIRST_TEXT_S:g} ms

final        from the frame with the last speech to the final, max_sentence_silence included; goal:
p95 under that silence + {1000 * FINAL_S:g} ms

tail         from finish-task to task-finished; goal: p95 under {1000 * TAIL_S:g} ms

Every client sends 100 ms of audio every 100 ms, as a microphone does, whatever the server does.
The times of speech come from a manifest, else from the loudness of the recording.

[bold]Examples[/]

asr-server bench                                   4 streams for 30 s, against ws://127.0.0.1:8000

asr-server bench --streams 40 --seconds 120        40 streams for two minutes

asr-server bench --ramp binary                     how many streams: doubles, then halves the gap

asr-server bench --ramp linear --step 8 --plot curve.png         the whole curve; PNG, SVG or HTML

asr-server bench ws://asr.example.com:8000 --recordings calls/ --recordings test.jsonl

asr-server bench --ramp binary --require 50 --json held.json     in CI: exit status 3 below 50

asr-server bench wss://dashscope.aliyuncs.com/api-ws/v1/inference --api-key sk-...    Alibaba's own

Run this on another machine than the server: on one machine they share the cores. If this program
falls behind its own schedule, the result is "not measured".

[bold]Exit status[/]: 0 goals kept, 1 could not be measured, 2 the command is wrong, 3 goals broken
(with --ramp: fewer streams than --require).
"""
)
def bench(
    url: Annotated[
        str, typer.Argument(help="Address of any server that speaks DashScope's protocol.")
    ] = DEFAULT_URL,
    streams: Annotated[
        int, typer.Option(min=1, help="Streams at once; with --ramp, at first.")
    ] = 4,
    ramp: Annotated[
        Ramp | None,
        typer.Option(
            help="Add streams until a goal breaks: `binary` finds the number in the fewest "
            "tries, `linear` takes even steps and shows the curve."
        ),
    ] = None,
    step: Annotated[int, typer.Option(min=1, help="Streams added by `--ramp linear`.")] = 8,
    most: Annotated[int, typer.Option(min=1, help="Most streams that a ramp tries.")] = 512,
    seconds: Annotated[
        float, typer.Option(min=1, help="Duration of the measurement, once all streams are open.")
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
    model: Annotated[str, typer.Option(help="Model name in the request.")] = DEFAULT_MODEL,
    silence_ms: Annotated[
        int, typer.Option(min=200, max=6000, help="max_sentence_silence of every task.")
    ] = PARAFORMER.max_sentence_silence_ms,
    goal_first_text_ms: Annotated[float, typer.Option(help="Goal for p95.")] = 1000 * FIRST_TEXT_S,
    goal_final_ms: Annotated[
        float, typer.Option(help="Goal for p95, beyond max_sentence_silence.")
    ] = 1000 * FINAL_S,
    goal_tail_ms: Annotated[float, typer.Option(help="Goal for p95.")] = 1000 * TAIL_S,
    most_late_ms: Annotated[
        float,
        typer.Option(
            help="Bound on this program's own lateness in sending (p99), beyond which the result "
            "is not reported."
        ),
    ] = 50,
    require: Annotated[
        int, typer.Option(min=0, help="Streams that a ramp must hold for exit status 0.")
    ] = 0,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot to this file: .png, .svg or .html. Needs matplotlib.")
    ] = None,
) -> None:
    """Measure how many streams a server holds, and its latency."""
    if require and ramp is None:
        raise typer.BadParameter("needs --ramp", param_hint="--require")
    if plot is not None and plot.suffix not in plotting.SUFFIXES:
        raise typer.BadParameter("end it with .png, .svg or .html", param_hint="--plot")
    if plot is not None and not plotting.available():
        raise typer.BadParameter(plotting.MISSING, param_hint="--plot")
    try:
        material = read_recordings(recordings or [], quiet, silence_ms / 1000)
    except RecordingError as exc:
        raise typer.BadParameter(str(exc), param_hint="--recordings") from exc
    goals = Goals(
        goal_first_text_ms / 1000,
        (silence_ms + goal_final_ms) / 1000,
        goal_tail_ms / 1000,
        most_late_ms / 1000,
    )
    target = Target(websocket_url(url), api_key, model, {"max_sentence_silence": silence_ms})
    if not out.is_terminal:
        out.width = report.WIDTH
    number, share = report.describe(material)
    out.print(
        f"{without_key(target.url)}: {number} recordings, {share:.0%} speech, "
        f"{seconds:g} s a level, goals p95 {goal_first_text_ms:g} / {1000 * goals.final_s:g} / "
        f"{goal_tail_ms:g} ms"
    )
    plan = Plan(ramp, streams, step, most)
    levels = asyncio.run(_measure(target, material, goals, seconds, plan))
    tried = _tried(levels, goals)
    run = report.Run(
        url=without_key(target.url),
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


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of streams to measure."""

    ramp: Ramp | None
    streams: int
    step: int
    most: int

    def next(self, tried: Mapping[int, bool]) -> int | None:
        """Return the next number of streams, or None at the end."""
        if not tried:
            return self.streams
        if self.ramp is Ramp.binary:
            return binary(tried, self.streams, self.most)
        return linear(tried, self.step, self.most) if self.ramp is Ramp.linear else None


async def _measure(
    target: Target, recordings: Sequence[Recording], goals: Goals, seconds: float, plan: Plan
) -> list[Level]:
    """Run level after level; end early where nothing can be measured."""
    levels: list[Level] = []
    await warm_up(target, recordings)
    while (streams := plan.next(_tried(levels, goals))) is not None:
        if levels:
            await asyncio.sleep(REST_S)
        generator = LoadGenerator(target, recordings, streams, seconds)
        with _live_view(generator, levels, goals):
            level = await generator.run(goals)
        levels.append(level)
        if not out.is_terminal:
            err.print(f"{streams} streams: {report.outcome(level, goals)}")
        if not level.clients.finished and not any(_tried(levels, goals).values()):
            break
    return levels


def _tried(levels: Sequence[Level], goals: Goals) -> dict[int, bool]:
    """Return the numbers of streams and whether all goals were kept, reliably measured."""
    return {one.streams: one.held and not one.clients.unreliable(goals) for one in levels}


@contextmanager
def _live_view(generator: LoadGenerator, levels: list[Level], goals: Goals) -> Iterator[None]:
    """Show a level while it runs, if the output is a terminal."""
    if not out.is_terminal:
        yield
        return
    live = Live(console=out, auto_refresh=False, transient=True)

    async def refresh() -> None:
        while True:
            live.update(_view(generator, levels, goals), refresh=True)
            await asyncio.sleep(REFRESH_S)

    with live:
        refreshing = asyncio.ensure_future(refresh())
        try:
            yield
        finally:
            refreshing.cancel()


def _view(generator: LoadGenerator, levels: list[Level], goals: Goals) -> RenderableType:
    now = asyncio.get_running_loop().time()
    figures = generator.figures()
    if now < generator.measured_from:
        phase = f"opening streams, {generator.measured_from - now:.0f} s"
    else:
        phase = f"measuring, {max(0.0, generator.measured_until - now):.0f} s"
    late = 1000 * (figures.late.p99 or 0.0)
    return Group(
        *([report.table(levels, goals)] if levels else []),
        f"[bold]{generator.streams} streams[/]: {generator.open} open, {phase}; "
        f"{figures.finished} finished, {figures.refused} refused, "
        f"{sum(figures.failed.values())} failed",
        f"first text {report.latency(figures.first_text, goals.first_text_s)}   "
        f"final {report.latency(figures.final, goals.final_s)}   "
        f"tail {report.latency(figures.tail, goals.tail_s)} ms   "
        f"this program late by {late:.0f} ms (p99)",
    )


def _verdict(streams_held: int | None, levels: list[Level], goals: Goals, require: int) -> int:
    """Print the conclusion and return the exit status."""
    if streams_held is None:
        level = levels[-1]
    else:
        more = (level for level in levels if level.streams > streams_held)
        level = min(more, key=lambda level: level.streams, default=levels[-1])
        out.print(f"[bold]{streams_held} streams held[/]")
    unmeasured = level.clients.unreliable(goals) or not level.clients.finished
    if level.clients.unreliable(goals):
        late = 1000 * (level.clients.late.p99 or 0.0)
        err.print(
            f"[bold red]Not measured:[/] with {level.streams} streams this program itself was "
            f"{late:.0f} ms late (p99). Run bench on another machine, or with fewer streams."
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
