"""What a run found, for people and for programs."""

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from rich.table import Table

from asr_server import __version__
from asr_server.load.crowd import Level
from asr_server.load.figures import Figures, Goals, Percentiles
from asr_server.load.recordings import Recording

COLUMNS = ("streams", "first text", "final", "tail", "tasks", "refused", "failed", "server", "")
WIDTH = 150
"""Characters of a line where nobody tells how wide the screen is."""


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that was measured, and how."""

    url: str
    """Without what may be a key."""
    model: str
    pause_ms: int
    """`max_sentence_silence`."""
    seconds: float
    recordings: int
    spoken: float
    """Share of the sound in which somebody speaks."""
    goals: Goals
    levels: tuple[Level, ...]
    streams_held: int | None
    """The most for which all goals were kept; None where that was not looked for."""
    measured_by: str


def describe(recordings: Sequence[Recording]) -> tuple[int, float]:
    """How many recordings, and the share of speech in them."""
    sound = sum(one.duration_s for one in recordings)
    return len(recordings), sum(one.spoken_s for one in recordings) / sound


def this_machine() -> str:
    """Who measures."""
    return (
        f"asr-server {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.machine()}"
    )


def without_key(url: str) -> str:
    """An address without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def table(levels: Sequence[Level], goals: Goals) -> Table:
    """A line for each level: p50 / p95 / p99 in ms."""
    shown = Table(*COLUMNS, title="p50 / p95 / p99 in ms", title_justify="left", box=None)
    for column in shown.columns[:-1]:
        column.justify = "right"
        column.no_wrap = True
    for level in levels:
        seen = level.clients
        told = level.server
        shown.add_row(
            str(level.streams),
            latency(seen.first_text, goals.first_text_s),
            latency(seen.final, goals.final_s),
            latency(seen.tail, goals.tail_s),
            str(seen.finished),
            str(seen.refused),
            str(sum(seen.failed.values())),
            f"{told.busy:.0%} {told.step_ms:.0f} ms {told.rss_mb:.0f} MB" if told else "-",
            outcome(level, goals),
        )
    return shown


def outcome(level: Level, goals: Goals) -> str:
    """Held, or why not."""
    if level.clients.own_fault(goals):
        return "[yellow]not measured: this program was late[/]"
    return "[green]held[/]" if level.held else f"[red]{'; '.join(level.broken)}[/]"


def revised(seen: Figures) -> str:
    """How steady the interim texts are."""
    share = seen.revised / max(1, seen.shown)
    return f"{share:.1%} of {seen.shown} shown characters were revised later"


def latency(seen: Percentiles, goal_s: float) -> str:
    """Three percentiles, the middle one red where it breaks the goal."""
    if seen.p50 is None or seen.p95 is None or seen.p99 is None:
        return "-"
    p50, p95, p99 = (f"{1000 * p:.0f}" for p in (seen.p50, seen.p95, seen.p99))
    return f"{p50} / [{'red' if seen.p95 > goal_s else 'bold'}]{p95}[/] / {p99}"


def write_json(run: Run, path: Path) -> None:
    """The run with every figure; seconds where nothing else is said."""
    whole: dict[str, Any] = dataclasses.asdict(run)
    for level, dumped in zip(run.levels, whole["levels"], strict=True):
        dumped["held"] = level.held
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
