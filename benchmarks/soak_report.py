"""Report a soak run from its log: counts, trends, plot, and problems."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.environment import processor_of
from benchmarks.trend import Trend, trend

LOG = "soak.jsonl"
WARM_UP = 0.2
"""Share of the run before the trend begins: caches fill, the allocator settles."""
MAX_RSS_GROWTH_A_DAY = 0.01
HOURS_A_DAY = 24

console = Console(width=120, highlight=False)
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """Hold one figure over the run."""

    name: str
    unit: str
    x: list[float]
    y: list[float]
    trend: Trend | None


def report_on(folder: Path) -> bool:
    """Print and draw a run; return whether it found no problem."""
    lines = [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]
    begin = next(line for line in lines if line["kind"] == "begin")
    samples = samples_of(lines)
    last, accelerated = samples[-1], begin["accelerated"]
    hours = (last["at"] - samples[0]["at"]) / 3600
    condition = (
        f"{begin['streams']} {'bulk' if accelerated else 'real-time'} streams, {hours:.2f} h, "
        f"{last['audio_s'] / 3600:.1f} h of audio; model {begin['model']}, {begin['dtype']}"
    )
    console.print(f"{condition}; {begin['machine']}")
    console.print(", ".join(f"{number} {name}" for name, number in last["counts"].items()))
    series = list(series_of(samples, accelerated))
    _print_trends(series, accelerated)
    title = f"Soak run: {condition}\n{processor_of(begin['machine'])}"
    if series:
        _draw(series, folder / "soak.png", title, accelerated)
    problems = list(problems_of(lines, last["counts"], series))
    for problem in problems:
        console.print(f"[bold red]{problem}[/]")
    if not problems:
        console.print("[bold green]no task lost, no text different, memory does not grow[/]")
    return not problems


def samples_of(lines: Sequence[Line]) -> list[Line]:
    """Return the samples of a log that have the server's metrics."""
    return [line for line in lines if line["kind"] == "sample" and line["server"]]


def series_of(samples: Sequence[Line], accelerated: bool) -> Iterator[Series]:
    """Yield each figure over hours, or over hours of audio if it was sent faster than real time."""
    began = samples[0]["at"]
    hours = [(s["audio_s"] if accelerated else s["at"] - began) / 3600 for s in samples]
    steps_ms: list[float | None] = [None]
    for before, after in zip(samples, samples[1:], strict=False):
        a, b = before["server"], after["server"]
        steps_ms.append(1000 * (b["step_s"] - a["step_s"]) / max(1.0, b["steps"] - a["steps"]))
    columns: list[tuple[str, str, Sequence[float | None]]] = [
        ("memory", "MB", [s["server"]["rss_bytes"] / 2**20 for s in samples]),
        ("step", "ms", steps_ms),
        ("open files", "", [s["server"]["open_files"] for s in samples]),
    ]
    for key in ("first_text_s", "final_s", "tail_s"):
        ms = [None if s[key] is None else 1000 * s[key] for s in samples]
        columns.append((f"{key[:-2].replace('_', ' ')} p95", "ms", ms))
    for name, unit, values in columns:
        # Without the last sample, which is of a server without load.
        pairs = [(x, y) for x, y in zip(hours[:-1], values[:-1], strict=True) if y is not None]
        if pairs:
            warm = [(x, y) for x, y in pairs if x >= WARM_UP * hours[-1]]
            line = trend([x for x, _ in warm], [y for _, y in warm])
            yield Series(name, unit, [x for x, _ in pairs], [y for _, y in pairs], line)


def problems_of(
    lines: Sequence[Line], counts: dict[str, int], series: Sequence[Series]
) -> Iterator[str]:
    """Yield lost tasks, different texts, open things, and growth of memory."""
    ended = sum(counts.get(name, 0) for name in ("finished", "refused", "failed", "disconnected"))
    if ended != counts["started"]:
        yield f"{counts['started'] - ended} tasks have no outcome"
    for name in ("failed", "different"):
        if counts.get(name):
            yield f"{counts[name]} {name}: see `{name}` in {LOG}"
    end = next((line for line in lines if line["kind"] == "end"), None)
    if end is None:
        yield "the run was interrupted"
    else:
        names = ("open_tasks", "open_connections", "used_slots")
        if left_open := {name: end[name] for name in names if end[name]}:
            yield f"left open: {left_open}"
        before = next(line["server"] for line in lines if line["kind"] == "references")
        for name in ("finished", "disconnected"):
            counted, expected = end["server"][name] - before[name], counts.get(name, 0)
            if counted != expected:
                yield f"the server counts {counted:.0f} {name}, the clients {expected}"
    memory = series[0].trend if series else None
    if memory is None:
        yield "the run is too short for a trend of memory"
        return
    share, low, high = memory.growth(HOURS_A_DAY)
    if low > MAX_RSS_GROWTH_A_DAY:
        yield f"memory grows by {share:.1%} in a day"
    elif high > MAX_RSS_GROWTH_A_DAY:
        yield (
            f"memory: the interval of the growth in a day, {low:+.1%} to {high:+.1%}, contains the "
            f"limit of {MAX_RSS_GROWTH_A_DAY:.0%}; run longer"
        )


def _print_trends(series: Sequence[Series], accelerated: bool) -> None:
    day = "24 h of audio" if accelerated else "24 h"
    table = Table("", "mean", f"growth in {day}", "95 % interval", "batch means", box=None)
    for one in series:
        if one.trend is None:
            table.add_row(one.name, "too few samples")
            continue
        share, low, high = one.trend.growth(HOURS_A_DAY)
        table.add_row(
            one.name,
            f"{one.trend.mean:.1f} {one.unit}",
            f"{share:+.2%}",
            f"{low:+.2%} to {high:+.2%}",
            str(one.trend.batches),
        )
    console.print(table)


def _draw(series: Sequence[Series], path: Path, title: str, accelerated: bool) -> None:
    from benchmarks import plotting

    figure, axes = plotting.new_figure(title, 1.9 * len(series), rows=len(series))
    for one, ax in zip(series, axes, strict=True):
        ax.plot(one.x, one.y, ".", ms=3, color=plotting.ENGINE, label="sample")
        if one.trend is not None:
            ends = [WARM_UP * one.x[-1], one.x[-1]]
            line = [one.trend.intercept + one.trend.slope * x for x in ends]
            ax.plot(ends, line, color=plotting.TREND, label="trend")
        ax.set_ylabel(f"{one.name}, {one.unit}" if one.unit else one.name)
        ax.set_ylim(0, 1.25 * max(one.y))
    axes[0].legend(ncols=2, loc="lower right", frameon=False)
    axes[-1].set_xlabel("audio sent, h" if accelerated else "time, h")
    plotting.save(figure, path)
