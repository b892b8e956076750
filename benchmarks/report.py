"""Write RESULTS.md and its plots from what the benchmarks left in benchmarks/results.

    python -m benchmarks.report

No figure is typed by hand; `reading.md`, which is, says what to make of them.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path("benchmarks")
RESULTS = HERE / "results"
PLOTS = HERE / "plots"
LATE_MS = 600
OURS, PEER, MUTED = "#1f6f8b", "#b0b7bd", "#6b7280"

Json = dict[str, Any]


def main() -> None:
    """Read, draw, write."""
    PLOTS.mkdir(exist_ok=True)
    peers, precision, memory, lag = map(_load, ("peers", "precision", "memory", "event_loop"))
    parts = [
        "# Results",
        "Written by `python -m benchmarks.report`; `make bench` measures anew. See "
        "[README.md](README.md) for what each benchmark does.",
        (HERE / "reading.md").read_text("utf-8").strip(),
        "## What was asked for",
        table(("bar", "measured", "kept"), list(bars(peers, memory, lag, precision))),
        "## Streams held",
        f"{peers['environment']}. Peers: {', '.join(peers['peers'])}. Random weights in the "
        f"production model's size; runs of {peers['seconds']:.0f} s.",
        table(HELD, [held_row(row) for row in peers["rows"]]),
        "![Streams held](plots/held.png)",
        "## A step of our engine",
        "Milliseconds with everything in it (VAD, features, encoder, CIF, decoder), all cores; "
        "and the share of it that its matrix products alone take at the same shapes.",
        table(STEPS, [row for one in ours(peers) for row in step_rows(one)]),
    ]
    if precision:
        parts += [
            "## Precision",
            f"{precision['environment']}, {precision['device']}. The demo model on "
            f"{precision['recordings']} recordings ({precision['audio_s']:.0f} s; sets "
            f"{', '.join(precision['sets'])}) of synthetic speech, in batches of 32.",
            table(PRECISION, [precision_row(row) for row in precision["rows"]]),
        ]
    if memory:
        parts += [
            "## Memory",
            f"{memory['environment']}. Resident memory of the server process, full-size weights.",
            table(MEMORY, [memory_row(row) for row in memory["rows"]]),
            "![Memory over streams opened and closed](plots/memory.png)",
        ]
        draw_memory(memory, PLOTS / "memory.png")
    if lag:
        parts += [
            "## Event loop",
            f"{lag['environment']}. How late a task that sleeps 5 ms wakes in the server's event "
            "loop while more streams speak than the machine can compute.",
            table(LAG, [lag_row(row) for row in lag["rows"]]),
        ]
    (HERE / "RESULTS.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    draw_held(peers, PLOTS / "held.png")


def _load(name: str) -> Json:
    """A benchmark's figures; nothing if it has not been run."""
    path = RESULTS / f"{name}.json"
    loaded: Json = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return loaded


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Streams -----------------------------------------------------------------------------------------

HELD = (
    "engine",
    "precision",
    "processes x threads",
    "includes",
    "ms a chunk, one thread",
    "ms a chunk, all cores",
    "**streams held**",
    "p50 / p95 / p99 ms",
    "cores busy",
    "others",
    "tokens a chunk",
    "measured",
)


def held_row(row: Json) -> list[str]:
    who, run = row["contender"], row["run"]
    return [
        who["name"],
        who["precision"],
        f"{who['processes']} x {who['threads']}",
        who["includes"],
        f"{row['one_thread_ms']:.1f}",
        f"{row['all_cores_ms']:.1f}",
        f"**{streams(row)}**{in_rounds(row)}",
        f"{run['p50_ms']:.0f} / {run['p95_ms']:.0f} / {run['p99_ms']:.0f}",
        f"{run['busy']:.0%}",
        f"{run['others']:.0%}",
        f"{run['tokens_a_chunk']:.1f}",
        row.get("ended", ""),
    ]


def in_rounds(row: Json) -> str:
    """What every round gave, where there were several."""
    rounds = row.get("rounds", [])
    return f" of {', '.join(map(str, rounds))}" if len(rounds) > 1 else ""


def streams(row: Json) -> int:
    """Held; none if even one stream was too much."""
    run = row["run"]
    return int(run["streams"]) if run["p95_ms"] < LATE_MS else 0


def ours(peers: Json) -> list[Json]:
    return [row for row in peers["rows"] if row["contender"]["worker"].startswith("ours:")]


STEPS = ("precision", "streams", "step ms", "ms a stream", "products alone ms", "share")


def step_rows(row: Json) -> Iterator[list[str]]:
    for size, ms in row["steps_ms"].items():
        products = row["products_ms"].get(size)
        yield [
            row["contender"]["precision"],
            size,
            f"{ms:.0f}",
            f"{ms / int(size):.1f}",
            f"{products:.0f}" if products else "",
            f"{products / ms:.0%}" if products else "",
        ]


# Bars --------------------------------------------------------------------------------------------


def bars(peers: Json, memory: Json, lag: Json, precision: Json) -> Iterator[list[str]]:
    """What the project set itself, and what came of it."""
    best = max(ours(peers), key=streams)
    name = best["contender"]["precision"]
    others = [row for row in peers["rows"] if row not in ours(peers)]
    funasr = [row for row in others if row["contender"]["worker"] == "funasr"]
    onnx = [row for row in others if row["contender"]["precision"] == "int8"]
    for title, rivals, factor in (
        ("streams of FunASR's generate loop", funasr, 20.0),
        ("streams of ONNX Runtime int8, batch 1", onnx, 2.5),
    ):
        rival = max(rivals, key=streams)
        ratio = streams(best) / max(1, streams(rival))
        measured = f"{ratio:.1f}x ({name} {streams(best)}, {rival['contender']['name']} "
        yield [f"{factor:g}x the {title}", f"{measured}{streams(rival)})", kept(ratio >= factor)]
    size, products = next(iter(best["products_ms"].items()))
    share = products / best["steps_ms"][size]
    yield [f"60 % of the {name} GEMM limit (goal)", f"{share:.0%}", kept(share >= 0.6)]
    rival_ms = min(row["all_cores_ms"] for row in funasr)
    yield [
        "a batch of one is not slower than FunASR's step",
        f"{best['all_cores_ms']:.0f} ms against {rival_ms:.0f} ms",
        kept(best["all_cores_ms"] <= rival_ms),
    ]
    if memory:
        yield from memory_bars(memory)
    if lag:
        p99 = max(row["p99_ms"] for row in lag["rows"])
        yield ["event loop p99 under 20 ms, saturated", f"{p99:.1f} ms", kept(p99 < 20)]
    if precision:
        coarse = [row for row in precision["rows"] if row["dtype"] != "float32"]
        agreement = 1 - max(row["differing"] / row["tokens"] for row in coarse)
        yield ["99.5 % of float32's tokens", f"{agreement:.2%}", kept(agreement >= 0.995)]


def memory_bars(memory: Json) -> Iterator[list[str]]:
    worst = max(row["rest_mb"] for row in memory["rows"])
    yield ["at most 1.3 GB resident at rest", f"{worst / 1000:.2f} GB", kept(worst <= 1300)]
    dearest = max(row["a_stream_mb"] for row in memory["rows"])
    yield ["at most 8 MB more per open stream", f"{dearest:.1f} MB", kept(dearest <= 8)]
    early, late, count = settled(memory)
    grown = (late - early) / early
    yield [f"flat over {count} streams opened and closed", f"{grown:+.1%}", kept(grown < 0.01)]


def kept(yes: bool) -> str:
    return "yes" if yes else "**no**"


# Precision, memory, event loop -------------------------------------------------------------------

PRECISION = ("precision", "tokens that differ", "agreement", "recordings that differ", "CER")


def precision_row(row: Json) -> list[str]:
    return [
        row["dtype"],
        f"{row['differing']} of {row['tokens']}",
        f"{1 - row['differing'] / row['tokens']:.2%}",
        str(row["recordings_differing"]),
        f"{row['cer']:.2%}",
    ]


MEMORY = ("precision", "at rest MB", "after the first stream MB", "streams open", "MB a stream")


def memory_row(row: Json) -> list[str]:
    return [
        row["dtype"],
        f"{row['rest_mb']:.0f}",
        f"{row['after_first_mb']:.0f}",
        str(row["streams"]),
        f"{row['a_stream_mb']:.1f}",
    ]


def settled(memory: Json) -> tuple[float, float, int]:
    """Mean memory of the second fifth of the streams and of the last, and how many there were."""
    seen = next(row["churn"] for row in memory["rows"] if row["churn"])
    figures = np.array([mb for _, mb in seen])
    fifth = len(figures) // 5
    count = round(seen[-1][0] / (1 - 1 / len(seen)), -2)
    return float(figures[fifth : 2 * fifth].mean()), float(figures[-fifth:].mean()), int(count)


LAG = ("precision", "streams", "device busy", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "most ms")


def lag_row(row: Json) -> list[str]:
    cuts = [row[name] for name in ("p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")]
    busy = row["server"].get("busy")
    return [
        row["dtype"],
        str(row["streams"]),
        f"{busy:.0%}" if busy else "",
        *(f"{cut:.1f}" for cut in cuts),
    ]


# Plots -------------------------------------------------------------------------------------------


def draw_held(peers: Json, to: Path) -> None:
    rows = sorted(peers["rows"], key=streams)
    names = [f"{row['contender']['name']}, {row['contender']['precision']}" for row in rows]
    colours = [OURS if row in ours(peers) else PEER for row in rows]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(rows) + 1.1))
    drawn = axes.barh(names, [streams(row) for row in rows], color=colours, height=0.68)
    axes.bar_label(drawn, padding=4, color=MUTED)
    axes.set_xlabel("real-time streams held, 95 % of the chunks within 600 ms")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _plain(axes)
    axes.tick_params(axis="y", length=0)
    figure.savefig(to, dpi=160, bbox_inches="tight")
    plt.close(figure)


def draw_memory(memory: Json, to: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 2.6))
    for row in memory["rows"]:
        if row["churn"]:
            numbers, figures = zip(*row["churn"], strict=True)
            axes.plot(numbers, figures, color=OURS, label=row["dtype"])
            axes.axhline(row["rest_mb"], color=MUTED, linewidth=0.8, linestyle=":")
            axes.annotate("at rest", (numbers[0], 0.98 * row["rest_mb"]), color=MUTED, va="top")
    axes.set_ylim(0, 1.2 * max(mb for row in memory["rows"] for _, mb in row["churn"]))
    axes.set_xlabel("streams opened and closed")
    axes.set_ylabel("resident MB")
    _plain(axes)
    figure.savefig(to, dpi=160, bbox_inches="tight")
    plt.close(figure)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PEER)


if __name__ == "__main__":
    main()
