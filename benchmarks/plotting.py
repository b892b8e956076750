"""Draw the plots of all benchmarks in one style."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

ENGINE, PEER, TREND = "#0072b2", "#b0b7bd", "#d55e00"
"""Okabe and Ito's blue and vermilion differ for colour-blind readers too."""
MUTED = "#6b7280"
WIDTH_IN = 9.0
DPI = 150


def new_figure(title: str, height_in: float, rows: int = 1) -> tuple[Figure, list[Any]]:
    """Return a figure with `rows` axes below each other that share x; the title names processor
    and condition."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(PEER)
        one.grid(alpha=0.25)
        one.set_axisbelow(True)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    figure.savefig(path, dpi=DPI)
