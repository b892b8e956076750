"""A run as a picture: latency and the server's load against the number of streams."""

import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asr_server.load.crowd import Level
from asr_server.load.figures import Percentiles
from asr_server.load.report import Run

SUFFIXES = (".png", ".svg", ".html")
COLOURS = ("#0072b2", "#d55e00", "#009e73")  # told apart by the colour-blind, too
"""Okabe and Ito's."""
MISSING = "a plot needs matplotlib: pip install 'asr-server[tools]', or leave --plot out"


def available() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def write_plot(run: Run, path: Path) -> None:
    """PNG, SVG, or a page with the picture and the table, by the suffix."""
    figure = _draw(run)
    if path.suffix == ".html":
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg")
        svg = drawn.getvalue()
        path.write_text(_page(run, svg[svg.index("<svg") :]), encoding="utf-8")
    else:
        figure.savefig(path, dpi=150)


def _draw(run: Run) -> Any:
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    levels = sorted(run.levels, key=lambda level: level.streams)
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    latency, load = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    goals = (run.goals.first_text_s, run.goals.final_s, run.goals.tail_s)
    kinds: tuple[tuple[str, Callable[[Level], Percentiles]], ...] = (
        ("first text", lambda level: level.clients.first_text),
        ("final", lambda level: level.clients.final),
        ("tail", lambda level: level.clients.tail),
    )
    for (name, of), goal, colour in zip(kinds, goals, COLOURS, strict=True):
        seen = [(level.streams, of(level)) for level in levels if of(level).count]
        at = [streams for streams, _ in seen]
        for share, style in (("p50", ":"), ("p95", "-")):
            values = [1000 * getattr(one, share) for _, one in seen]
            latency.plot(at, values, style, marker="o", ms=4, color=colour, label=f"{name} {share}")
        latency.axhline(1000 * goal, color=colour, lw=0.8, ls="--", alpha=0.6)
    latency.set_yscale("log")
    ticks = [50, 100, 150, 300, 600, 950, 2000, 5000]
    latency.set_yticks(ticks, [str(tick) for tick in ticks])
    latency.minorticks_off()
    latency.set_ylabel("ms (dashed: goal for p95)")
    latency.set_title(_title(run), loc="left", fontsize=11)
    latency.legend(ncols=3, fontsize=8, loc="upper left")
    if run.streams_held:
        for axes in (latency, load):
            axes.axvline(run.streams_held, color="black", lw=0.8)
    _draw_load(load, levels)
    load.set_xlabel("streams")
    load.set_xlim(0, 1.05 * levels[-1].streams)
    load.xaxis.get_major_locator().set_params(integer=True)
    for axes in (latency, load):
        axes.grid(alpha=0.25)
    return figure


def _draw_load(axes: Any, levels: Sequence[Level]) -> None:
    told = [(level.streams, level.server) for level in levels if level.server]
    asked = [level for level in levels if level.clients.refused]
    axes.set_ylabel("device busy, %")
    axes.set_ylim(0, 105)
    if told:
        at = [streams for streams, _ in told]
        axes.plot(at, [100 * one.busy for _, one in told], "-o", ms=4, color="#444444")
    for level in asked:
        axes.annotate(f"{level.clients.refused} refused", (level.streams, 8), ha="center", size=8)


def _title(run: Run) -> str:
    held = "" if run.streams_held is None else f"{run.streams_held} streams held: "
    return f"{held}{run.url}"


def _page(run: Run, svg: str) -> str:
    from rich.console import Console

    from asr_server.load.report import table

    console = Console(record=True, width=160, file=io.StringIO())
    console.print(table(run.levels, run.goals))
    lines = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
    title = html.escape(_title(run))
    said = html.escape(
        f"{run.recordings} recordings, {run.spoken:.0%} speech; {run.seconds:.0f} s a level; "
        f"max_sentence_silence {run.pause_ms} ms; measured by {run.measured_by}"
    )
    return (
        f'<!doctype html><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:15px system-ui;margin:2em;max-width:75em}svg{max-width:100%}</style>"
        f"<h1>{title}</h1><p>{said}</p>{svg}{lines}\n"
    )
