"""Serve the status page: the build, current figures, and those of the last ten minutes.

As open as /metrics: the page holds no key, text or caller.
"""

import time
from html import escape
from pathlib import Path
from string import Template
from typing import Any, get_args

from fastapi import APIRouter, Response
from starlette.responses import FileResponse, HTMLResponse, JSONResponse

from asr_server.api.page import HEADERS
from asr_server.errors import UnknownPath
from asr_server.latency_goals import FIRST_TEXT_S, TAIL_S
from asr_server.observability.history import FIGURES, PERIOD_S, WINDOW, History
from asr_server.observability.metrics import Outcome

STATIC = Path(__file__).parent / "static" / "status"
FILES = ("status.css", "status.js", "plot.js", "words.js")
STRICT = {**HEADERS, "Content-Security-Policy": "default-src 'self'; img-src data:"}
NO_STORE = {**STRICT, "Cache-Control": "no-store"}

SHARES = {"busy", "gpu_utilization", "utilization"}
BUILD = ("version", "model", "device", "dtype", "second_pass")
MISSING = "–"


def router(history: History, notice: str | None) -> APIRouter:
    """Return `/status`, its files, and `/status/data`; `notice` is a warning to users."""
    status = APIRouter(include_in_schema=False)
    template = Template((STATIC / "index.html").read_text(encoding="utf-8"))

    @status.get("/status")
    async def page() -> Response:
        return HTMLResponse(template.substitute(_texts(history, notice)), headers=NO_STORE)

    @status.get("/status/data")
    async def data() -> Response:
        return JSONResponse(_data(history, notice), headers=NO_STORE)

    @status.get("/status/{name}")
    async def file(name: str) -> Response:
        if name in FILES:
            return FileResponse(STATIC / name, headers=STRICT)
        raise UnknownPath

    return status


def _data(history: History, notice: str | None) -> dict[str, Any]:
    """Return all that the page draws; each figure's values are in order, oldest first."""
    now_s = time.monotonic()
    return {
        "server": _server(history) | {"notice": notice},
        "totals": _totals(history),
        "goals": {"first_text_s": FIRST_TEXT_S, "tail_s": TAIL_S},
        "period_s": PERIOD_S,
        "window_s": PERIOD_S * WINDOW,
        "ages_s": [round(now_s - point.at_s, 1) for point in history.points],
        "points": {
            name: [_rounded(point.figures[name]) for point in history.points] for name in FIGURES
        },
    }


def _server(history: History) -> dict[str, Any]:
    latest = history.latest
    states = latest.samples["asr_server_state"].items()
    return {
        **{name: latest.build.get(name, "") for name in BUILD},
        "state": next((state for state, holds in states if holds), "loading"),
        "uptime_s": round(time.monotonic() - history.began_s),
    }


def _totals(history: History) -> dict[str, float]:
    """Return the counts since the start."""
    tasks, total = history.latest.samples["asr_tasks_total"], history.latest.total
    return {
        **{f"tasks_{outcome}": tasks[outcome] for outcome in get_args(Outcome)},
        "errors": total("asr_errors_total") or 0.0,
        "device_restarts": total("asr_device_restarts_total") or 0.0,
        "audio_s": round(total("asr_received_audio_seconds_total") or 0.0, 1),
    }


def _texts(history: History, notice: str | None) -> dict[str, str]:
    """Return the current figures as the page shows them to a browser without JavaScript."""
    figures = {name: _text(name, value) for name, value in history.points[-1].figures.items()}
    totals = {name: f"{value:g}" for name, value in _totals(history).items()}
    server = {name: escape(str(value)) or MISSING for name, value in _server(history).items()}
    return figures | totals | server | {"notice": escape(notice or "")}


def _text(name: str, value: float | None) -> str:
    if value is None:
        return MISSING
    if name in SHARES:
        return f"{value:.0%}"
    if name.endswith("_s"):
        return f"{1000 * value:.0f} ms"
    if name.endswith("_bytes"):
        return f"{value / 1e6:.0f} MB"
    return f"{value:.3g}"


def _rounded(value: float | None) -> float | None:
    """Return as many digits as a plot shows."""
    return None if value is None else float(f"{value:.4g}")
