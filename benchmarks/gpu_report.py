"""Show the figures of `benchmarks.gpu`: tables for RESULTS.md, and a plot."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator

from benchmarks import plotting
from benchmarks.goals import CHUNK_DELAY_S

Json = dict[str, Any]
Table = Callable[[Any, Any], str]

PARITY = ("model", "precision", "different tokens", "different recordings", "accepted")
STEPS = (
    "streams",
    "VAD ms (CPU)",
    "step ms",
    "graph",
    "launched one by one ms",
    "products ms",
    "share",
)
STREAMS = (
    "streams",
    "p50 / p95 / p99 ms",
    "decoded",
    "chunks per step",
    "event loop p99 ms",
    "sustained",
)
SECOND_PASS = ("sentence s", "batch", "ms per sentence", "tokens")


def parts(figures: Json, table: Table, plot: str) -> list[str]:
    """Return the section; parts that have not run are left out, failed ones name their error."""
    have = figures["parts"]
    return [
        "## GPU",
        f"{figures.get('environment', figures['device'])}. Random weights in the production "
        "model's size; the demo model where it is named."
        + (" **Reduced: these figures only show that the benchmark runs.**" * figures["reduced"]),
        *(f"{name} failed: {part['error']}" for name, part in have.items() if "error" in part),
        *_tests(have.get("tests", {})),
        *_tables(have, table),
        f"![Step time by batch size, and delay of paced streams](plots/{plot})",
    ]


def _tests(part: Json) -> Iterator[str]:
    if "summary" in part:
        yield f"`pytest -m gpu`: {part['summary']}."


def _tables(have: Json, table: Table) -> Iterator[str]:
    """Yield a sentence and a table for each part with rows."""
    rows = {name: part["rows"] for name, part in have.items() if part.get("rows")}
    if "parity" in rows:
        yield "Tokens that differ from those of float32 on the CPU:"
        yield table(PARITY, [_parity_row(row) for row in rows["parity"]])
    if "steps" in rows:
        yield f"Decode steps in {have['steps']['dtype']}, and their matrix products alone:"
        yield table(STEPS, [_step_row(row) for row in rows["steps"]])
    if "memory" in rows and "idle_mb" in have["memory"]:
        one = have["memory"]
        yield (
            f"Memory of the device in {one['dtype']}, beside CUDA's context: {one['idle_mb']:.0f} "
            f"MB with the model and steps of up to {one['max_batch']} streams, and "
            f"{one['a_stream_mb']:.1f} MB for each slot."
        )
    if "second_pass" in rows:
        yield f"Second pass in {have['second_pass']['dtype']}:"
        yield table(SECOND_PASS, [_sentence_row(row) for row in rows["second_pass"]])
    if "streams" in rows:
        yield _held(have["streams"])
        yield table(STREAMS, [_streams_row(row) for row in rows["streams"]])


def _held(part: Json) -> str:
    over = "" if part["searched"] else "; the time was over before the search"
    at_most = ", the most tried" if part["held"] == part["most"] else ""
    return (
        f"**{part['held']} streams** in {part['dtype']} with 95 % of the chunks decoded within "
        f"{1000 * CHUNK_DELAY_S:.0f} ms{at_most}{over}. Steps of up to {part['max_batch']} streams:"
    )


def _parity_row(row: Json) -> list[str]:
    return [
        row["model"],
        row["dtype"],
        f"{row['differing']} of {row['tokens']}",
        str(row["recordings_differing"]),
        "yes" if row["ok"] else "**no**",
    ]


def _step_row(row: Json) -> list[str]:
    launched = row["launched_ms"]
    return [
        str(row["streams"]),
        f"{row['vad_ms']:.1f}",
        f"{row['step_ms']:.1f}",
        "yes" if row["captured"] else "no",
        f"{launched:.1f}" if launched else "",
        f"{row['products_ms']:.1f}",
        f"{row['products_ms'] / row['step_ms']:.0%}",
    ]


def _sentence_row(row: Json) -> list[str]:
    return [
        f"{row['seconds']:g}",
        str(row["batch"]),
        f"{row['ms']:.2f}",
        f"{row['tokens']:.0f}",
    ]


def _streams_row(row: Json) -> list[str]:
    return [
        str(row["streams"]),
        f"{row['p50_ms']:.0f} / {row['p95_ms']:.0f} / {row['p99_ms']:.0f}",
        f"{row['computed']:.0%}",
        f"{row['chunks_a_step']:.1f}",
        f"{row['event_loop']['p99_ms']:.1f}",
        "yes" if row["sustained"] else "no",
    ]


def draw(figures: Json, path: Path) -> None:
    """Draw step time over batch size, and the delay of chunks over paced streams."""
    have = figures["parts"]
    steps = have.get("steps", {}).get("rows", [])
    runs = sorted(have.get("streams", {}).get("rows", []), key=lambda row: row["streams"])
    figure, (above, below) = plotting.new_figure(f"Decoding on {figures['device']}", 5.6, rows=2)
    for name, colour in (
        ("step_ms", plotting.ENGINE),
        ("launched_ms", plotting.PEER),
        ("products_ms", plotting.TREND),
    ):
        points = [(row["streams"], row[name]) for row in steps if row[name]]
        if points:
            above.plot(*zip(*points, strict=True), "o-", ms=3, color=colour, label=LABELS[name])
    above.set_ylabel("ms")
    for name in ("p50_ms", "p95_ms") if runs else ():
        colour = plotting.ENGINE if name == "p95_ms" else plotting.PEER
        points = [(row["streams"], row[name]) for row in runs]
        below.plot(*zip(*points, strict=True), "o-", ms=3, color=colour, label=LABELS[name])
    below.axhline(1000 * CHUNK_DELAY_S, color=plotting.MUTED, lw=0.8, ls=":")
    below.set_ylabel("delay of a chunk, ms")
    below.set_xlabel("streams in a step (above), streams in real time (below)")
    for axes in (above, below):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    plotting.save(figure, path)


LABELS = {
    "step_ms": "decode step, as the server runs it",
    "launched_ms": "launched kernel by kernel",
    "products_ms": "its matrix products alone",
    "p50_ms": "p50",
    "p95_ms": "p95",
}
