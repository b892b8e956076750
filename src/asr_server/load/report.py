"""The results of a run: a table for the terminal, JSON for programs."""

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from asr_server import __version__
from asr_server.load.figures import Figures, Goals, Percentiles
from asr_server.load.load_generator import Level

COLUMNS = ("streams", "first text", "final", "tail", "tasks", "refused", "failed", "server", "")
WIDTH = 150
"""Characters of a line where the output is no terminal."""


@dataclass(slots=True)
class Run:
    """All measurements and their conditions; levels are added while they are measured."""

    url: str
    """Without what may be a key."""
    model: str
    pause_ms: int
    """`max_sentence_silence`."""
    seconds: float
    recordings: int
    spoken: float
    """Share of speech in the audio."""
    goals: Goals
    measured_by: str
    levels: list[Level] = field(default_factory=list)
    streams_held: int | None = None
    """The most streams with all goals kept; None without a ramp."""

    @property
    def tried(self) -> dict[int, bool]:
        """Return the numbers of streams and whether all goals were kept, reliably measured."""
        return {
            one.streams: one.held and not one.clients.unreliable(self.goals) for one in self.levels
        }


def this_machine() -> str:
    """Return the software and hardware that measures."""
    return (
        f"asr-server {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.machine()}"
    )


def table(levels: Sequence[Level], goals: Goals) -> Table:
    """Return a table with a line for each level: p50 / p95 / p99 in ms."""
    rows = Table(*COLUMNS, title="p50 / p95 / p99 in ms", title_justify="left", box=None)
    for column in rows.columns[:-1]:
        column.justify = "right"
        column.no_wrap = True
    for level in levels:
        clients, server = level.clients, level.server
        rows.add_row(
            str(level.streams),
            latency(clients.first_text, goals.first_text_s),
            latency(clients.final, goals.final_s),
            latency(clients.tail, goals.tail_s),
            str(clients.finished),
            str(clients.refused),
            str(sum(clients.failed.values())),
            f"{server.busy:.0%} {server.step_ms:.0f} ms {server.rss_mb:.0f} MB" if server else "-",
            outcome(level, goals),
        )
    return rows


def outcome(level: Level, goals: Goals) -> str:
    """Return whether the level held, or why not."""
    if level.clients.unreliable(goals):
        return "[yellow]not measured: this program was late[/]"
    return "[green]held[/]" if level.held else f"[red]{'; '.join(level.broken)}[/]"


def revised(figures: Figures) -> str:
    """Return the stability of interim texts, as a sentence."""
    share = figures.revised / max(1, figures.shown)
    return f"{share:.1%} of {figures.shown} shown characters were revised later"


def latency(measured: Percentiles, goal_s: float) -> str:
    """Return three percentiles, the middle one red where it breaks the goal."""
    if measured.p50 is None or measured.p95 is None or measured.p99 is None:
        return "-"
    p50, p95, p99 = (f"{1000 * p:.0f}" for p in (measured.p50, measured.p95, measured.p99))
    return f"{p50} / [{'red' if measured.p95 > goal_s else 'bold'}]{p95}[/] / {p99}"


def write_json(run: Run, path: Path) -> None:
    """Write the run with every figure; seconds where no other unit is named."""
    whole: dict[str, Any] = dataclasses.asdict(run)
    for level, dumped in zip(run.levels, whole["levels"], strict=True):
        dumped["held"] = level.held
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
