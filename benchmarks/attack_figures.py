"""Hold what a server showed beside an attack, and show it: in a line, and in a table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

GOAL_S = 1.1
"""95 % of the finals of the streams beside an attack."""


@dataclass(slots=True)
class Observed:
    """Hold what the streams, the memory and the log showed beside an attack."""

    first_text_p95_s: float | None
    final_p95_s: float | None
    finished: int
    failed: dict[str, int]
    """Tasks of the streams by error, refused ones included."""
    rss_before_mb: float
    rss_max_mb: float
    rss_after_mb: float
    back_s: float | None
    """Seconds after the attack until memory and connections were back; None within a minute."""
    refused: dict[str, int]
    """How the attack was refused."""
    errors: int
    """Records at ERROR in the log."""
    tracebacks: int
    log_mb: float
    late_p99_s: float | None
    """How late this program itself sent."""
    left_open: dict[str, float] = field(default_factory=dict)


def held(seen: dict[str, Any]) -> bool:
    """Return whether the streams kept their goals, and the server its memory and its log."""
    final = seen["final_p95_s"]
    return (
        final is not None
        and final < GOAL_S
        and not seen["failed"]
        and seen["back_s"] is not None
        and not seen["errors"]
        and not seen["tracebacks"]
    )


def line(seen: Observed) -> str:
    """Return an observation in one line."""
    return (
        f"first text {_ms(seen.first_text_p95_s)}, final {_ms(seen.final_p95_s)} ms p95, "
        f"{seen.finished} finished, failed {seen.failed or 0}; "
        f"memory {seen.rss_before_mb:.0f} -> {seen.rss_max_mb:.0f} -> {seen.rss_after_mb:.0f} MB, "
        f"back after {_seconds(seen.back_s)}; {seen.errors} errors, {seen.tracebacks} tracebacks, "
        f"{seen.log_mb:.1f} MB log; refused {seen.refused or 'nothing'}"
        + (f"; left open {seen.left_open}" if seen.left_open else "")
    )


# The table ---------------------------------------------------------------------------------------

TABLE = (
    "attack",
    "final p95 ms",
    "tasks failed",
    "memory, most MB",
    "afterwards",
    "errors logged",
    "refused with",
)


def rows(before: dict[str, Any], after: dict[str, Any]) -> list[list[str]]:
    """Return the rows of TABLE: figures of an older server, and of this one."""
    return [_row(name, before.get(name), seen) for name, seen in after.items()]


def _row(name: str, earlier: dict[str, Any] | None, seen: dict[str, Any]) -> list[str]:
    return [
        f"`{name}`",
        _pair(earlier, seen, lambda one: _ms(one["final_p95_s"])),
        _pair(earlier, seen, lambda one: str(sum(one["failed"].values()))),
        _pair(earlier, seen, lambda one: f"{one['rss_max_mb'] - one['rss_before_mb']:+.0f}"),
        _pair(earlier, seen, lambda one: f"{one['rss_after_mb'] - one['rss_before_mb']:+.0f}"),
        _pair(earlier, seen, lambda one: str(max(one["errors"], one["tracebacks"]))),
        ", ".join(f"{how}: {number}" for how, number in seen["refused"].items()) or "nothing",
    ]


def _pair(earlier: dict[str, Any] | None, seen: dict[str, Any], cell: Callable[[Any], str]) -> str:
    return f"{cell(earlier)} → {cell(seen)}" if earlier else str(cell(seen))


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:.0f}"


def _seconds(seconds: float | None) -> str:
    return "a minute: no" if seconds is None else f"{seconds:.0f} s"
