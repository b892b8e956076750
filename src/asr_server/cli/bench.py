"""`asr-server bench`: how many streams a server holds within the latency goals."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from asr_client.protocol import DEFAULT_MODEL, DEFAULT_URL, websocket_url, without_key
from asr_server import command
from asr_server.latency_goals import FINAL_S, FIRST_TEXT_S, TAIL_S
from asr_server.protocol.models import PARAFORMER
from asr_server.recordings.files import RecordingError

app = typer.Typer()


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

asr-server bench --ramp binary --save              on the server's machine: keep the number

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
        Literal["binary", "linear"] | None,
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
    save: Annotated[
        bool,
        typer.Option(
            help="Keep the result as this machine's capacity, in ASR_CAPACITY_FILE; the server "
            "reads it when it starts. Needs --ramp."
        ),
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot to this file: .png, .svg or .html. Needs matplotlib.")
    ] = None,
) -> None:
    """Measure how many streams a server holds, and its latency."""
    from asr_server.cli import measuring  # NumPy takes as long as all the rest of `--help`
    from asr_server.cli.measuring import out
    from asr_server.load import plot as plotting
    from asr_server.load import report
    from asr_server.load.client_run import Target
    from asr_server.load.figures import Goals
    from asr_server.load.recordings import read_recordings
    from asr_server.load.search import binary, held, linear

    if require and ramp is None:
        raise typer.BadParameter("needs --ramp", param_hint="--require")
    if save and ramp is None:
        raise typer.BadParameter("needs --ramp", param_hint="--save")
    if plot is not None and plot.suffix not in plotting.SUFFIXES:
        raise typer.BadParameter("end it with .png, .svg or .html", param_hint="--plot")
    if plot is not None and find_spec("matplotlib") is None:
        how = f"{command.python()} -m pip install matplotlib"
        message = f"a plot needs matplotlib: {how}, or leave --plot out"
        raise typer.BadParameter(message, param_hint="--plot")
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
    spoken_s = sum(one.speech_s for one in material)
    run = report.Run(
        url=without_key(target.url),
        model=model,
        pause_ms=silence_ms,
        seconds=seconds,
        recordings=len(material),
        spoken=spoken_s / sum(one.duration_s for one in material),
        goals=goals,
        measured_by=report.this_machine(),
    )
    out.print(
        f"{run.url}: {run.recordings} recordings, {run.spoken:.0%} speech, "
        f"{seconds:g} s a level, goals p95 {goal_first_text_ms:g} / {1000 * goals.final_s:g} / "
        f"{goal_tail_ms:g} ms"
    )

    def plan() -> int | None:
        """Return the next number of streams, or None at the end."""
        if not run.tried:
            return streams
        if ramp == "binary":
            return binary(run.tried, streams, most)
        return linear(run.tried, step, most) if ramp == "linear" else None

    asyncio.run(measuring.measure(run, target, material, plan))
    if ramp:
        run.streams_held = held(run.tried)
    out.print(report.table(run.levels, goals))
    out.print(report.revised(run.levels[-1].clients))
    if save:
        measuring.save(run)
    if json is not None:
        report.write_json(run, json)
    if plot is not None:
        plotting.write_plot(run, plot)
    raise typer.Exit(measuring.verdict(run, require))
