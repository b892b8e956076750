"""A run as a plot: latency and the server's load against the number of streams."""

import html
import io
from pathlib import Path
from typing import Any

from rich.console import Console

from asr_server.load.report import Run, table

SUFFIXES = (".png", ".svg", ".html")
KINDS = {"first_text": "#0072b2", "final": "#d55e00", "tail": "#009e73"}
"""Latencies and their colours: Okabe and Ito's, distinct to the colour-blind too."""
TICKS_MS = [50, 100, 150, 300, 600, 950, 2000, 5000]


def write_plot(run: Run, path: Path) -> None:
    """Write a PNG, an SVG, or a page with the plot and the table, by the suffix."""
    figure = _plot(run)
    if path.suffix == ".html":
        svg = io.StringIO()
        figure.savefig(svg, format="svg")
        text = svg.getvalue()
        path.write_text(_page(run, text[text.index("<svg") :]), encoding="utf-8")
    else:
        figure.savefig(path, dpi=150)


def _plot(run: Run) -> Any:
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    levels = sorted(run.levels, key=lambda level: level.streams)
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    latency, load = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for kind, colour in KINDS.items():
        found = [(level.streams, getattr(level.clients, kind)) for level in levels]
        measured = [(streams, one) for streams, one in found if one.count]
        for percentile, style in (("p50", ":"), ("p95", "-")):
            latency.plot(
                [streams for streams, _ in measured],
                [1000 * getattr(one, percentile) for _, one in measured],
                style,
                marker="o",
                ms=4,
                color=colour,
                label=f"{kind.replace('_', ' ')} {percentile}",
            )
        goal_ms = 1000 * getattr(run.goals, f"{kind}_s")
        latency.axhline(goal_ms, color=colour, lw=0.8, ls="--", alpha=0.6)
    latency.set_yscale("log")
    latency.set_yticks(TICKS_MS, [str(tick) for tick in TICKS_MS])
    latency.minorticks_off()
    latency.set_ylabel("ms (dashed: goal for p95)")
    latency.set_title(_title(run), loc="left", fontsize=11)
    latency.legend(ncols=3, fontsize=8, loc="upper left")
    busy = [(level.streams, 100 * level.server.busy) for level in levels if level.server]
    if busy:
        load.plot(*zip(*busy, strict=True), "-o", ms=4, color="#444444")
    for level in levels:
        if refused := level.clients.refused:
            load.annotate(f"{refused} refused", (level.streams, 8), ha="center", size=8)
    load.set_ylabel("device busy, %")
    load.set_ylim(0, 105)
    load.set_xlabel("streams")
    load.set_xlim(0, 1.05 * levels[-1].streams)
    load.xaxis.get_major_locator().set_params(integer=True)
    for axes in (latency, load):
        if run.streams_held:
            axes.axvline(run.streams_held, color="black", lw=0.8)
        axes.grid(alpha=0.25)
    return figure


def _title(run: Run) -> str:
    held = "" if run.streams_held is None else f"{run.streams_held} streams held: "
    return f"{held}{run.url}"


def _page(run: Run, svg: str) -> str:
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(table(run.levels, run.goals))
    rows = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
    title = html.escape(_title(run))
    conditions = html.escape(
        f"{run.recordings} recordings, {run.spoken:.0%} speech; {run.seconds:.0f} s a level; "
        f"max_sentence_silence {run.pause_ms} ms; measured by {run.measured_by}"
    )
    return (
        f'<!doctype html><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:15px system-ui;margin:2em;max-width:75em}svg{max-width:100%}</style>"
        f"<h1>{title}</h1><p>{conditions}</p>{svg}{rows}\n"
    )
