"""Write RESULTS.md and its plots from benchmarks/results.

    python -m benchmarks.report

Tables of `results/*.json` are generated. `discussion.md` interprets them, and `whole_server.md` has
the figures of `asr-server bench` and `benchmarks.soak`, copied from their output.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import attack_figures, gpu_report, plotting, second_pass_report
from benchmarks.environment import processor_of
from benchmarks.goals import CHUNK_DELAY_S

HERE = Path("benchmarks")
RESULTS = HERE / "results"
PLOTS = HERE / "plots"

Json = dict[str, Any]


def main() -> None:
    """Read the figures, draw the plots, write RESULTS.md."""
    PLOTS.mkdir(exist_ok=True)
    peers, precision, memory, event_loop = map(
        _load, ("peers", "precision", "memory", "event_loop")
    )
    parts = [
        "# Results",
        "Written by `python -m benchmarks.report`; `make bench` measures again. Every section\n"
        "names the processor, its product peak and the commit: figures of different processors do\n"
        "not compare. [README.md](README.md) describes the benchmarks.",
        _text("discussion.md"),
        "## Goals",
        table(
            ("goal", "measured", "reached"),
            [
                *goals(peers, memory, event_loop, precision),
                *second_pass_goals(_load("second_pass")),
            ],
        ),
        "## Streams sustained by an engine",
        f"{environment(peers)}. Peers: {', '.join(peers['peers'])}. Random weights in the "
        f"production model's size; runs of {peers['seconds']:.0f} s. Sustained: 95 % of the chunks "
        f"are decoded within {1000 * CHUNK_DELAY_S:.0f} ms of their last sample.",
        table(STREAMS, [streams_row(row) for row in peers["rows"]]),
        "![Streams sustained by each engine](plots/streams.png)",
        "## Step time",
        f"{environment(peers)}. Milliseconds of a whole step (VAD, features, encoder, CIF, "
        "decoder) on all cores, and the share of it that its matrix products take alone, at the "
        "same shapes.",
        table(STEPS, [row for one in own(peers) for row in step_rows(one)]),
    ]
    if precision:
        parts += [
            "## Precision",
            f"{environment(precision)}, {precision['device']}. The demo model on "
            f"{precision['recordings']} recordings ({precision['audio_s']:.0f} s; sets "
            f"{', '.join(precision['sets'])}) of synthetic speech, in batches of 32.",
            table(PRECISION, [precision_row(row) for row in precision["rows"]]),
        ]
    if memory:
        parts += [
            "## Memory",
            f"{environment(memory)}. Resident memory of the server process, weights of the "
            "production model's size.",
            table(MEMORY, [memory_row(row) for row in memory["rows"]]),
            "![Resident memory over streams opened and closed](plots/memory.png)",
        ]
        draw_memory(memory, PLOTS / "memory.png")
    if event_loop:
        parts += [
            "## Event loop",
            f"{environment(event_loop)}. How late a task that sleeps 5 ms wakes in the server's "
            "event loop while the streams exceed the machine's capacity.",
            table(EVENT_LOOP, [event_loop_row(row) for row in event_loop["rows"]]),
        ]
    if second_pass := _load("second_pass"):
        parts += second_pass_report.parts(second_pass, table)
        if "engines" in second_pass:
            path = PLOTS / "second_pass.png"
            second_pass_report.draw(second_pass, path, processor(second_pass))
    if attacked := _load("attacks"):
        before = _load("attacks_before") or {"attacks": {}}
        parts += [
            "## Beside attacks",
            f"{attacked['environment']}; before: {before.get('environment', 'not measured')}. "
            "Eight live streams of the demo model beside each attack of "
            f"`tests/support/attacks`, {attacked['seconds']:.0f} s each (before: "
            f"{before.get('seconds', 0):.0f} s, and shorter recordings); default settings. The "
            "attacker, at a lower priority, shares the cores. Before → now. Tasks that are refused "
            "to keep live audio on time count as failed. Memory is that of all processes of the "
            "server, compared with the moment before the attack, at most and once it is back.",
            table(
                attack_figures.TABLE, attack_figures.rows(before["attacks"], attacked["attacks"])
            ),
        ]
    if gpu := _load("gpu"):
        parts += gpu_report.parts(gpu, table, "gpu.png")
        gpu_report.draw(gpu, PLOTS / "gpu.png")
    parts.append(_text("whole_server.md"))
    (HERE / "RESULTS.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    draw_streams(peers, PLOTS / "streams.png")


def _load(name: str) -> Json:
    """Return a benchmark's figures, or nothing if the benchmark has not been run."""
    path = RESULTS / f"{name}.json"
    loaded: Json = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return loaded


def _text(name: str) -> str:
    return (HERE / name).read_text("utf-8").strip()


def environment(figures: Json) -> str:
    """Return what the figures were measured on, with a later note on the processor if any."""
    note = figures.get("processor_note")
    return f"{figures['environment']} ({note})" if note else str(figures["environment"])


def processor(figures: Json) -> str:
    """Return the processor for the title of a plot."""
    name = processor_of(figures["environment"])
    generation = figures.get("processor_note", "").partition(";")[0]
    return f"{name}, {generation}" if generation else name


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Streams -----------------------------------------------------------------------------------------

STREAMS = (
    "engine",
    "precision",
    "processes x threads",
    "includes",
    "ms per chunk, one thread",
    "ms per chunk, all cores",
    "**streams sustained**",
    "p50 / p95 / p99 ms",
    "cores busy",
    "others",
    "tokens per chunk",
    "measured",
)


def streams_row(row: Json) -> list[str]:
    candidate, run = row["candidate"], row["run"]
    return [
        candidate["name"],
        candidate["precision"],
        f"{candidate['processes']} x {candidate['threads']}",
        candidate["includes"],
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
    """Return the figure of every round, where there were several."""
    rounds = row.get("rounds", [])
    return f" of {', '.join(map(str, rounds))}" if len(rounds) > 1 else ""


def streams(row: Json) -> int:
    """Return the sustained streams, 0 if one stream was too many."""
    run = row["run"]
    return int(run["streams"]) if run["p95_ms"] < 1000 * CHUNK_DELAY_S else 0


def own(peers: Json) -> list[Json]:
    """Return the rows of asr-server."""
    return [row for row in peers["rows"] if row["candidate"]["worker"].startswith("own:")]


STEPS = ("precision", "streams", "step ms", "ms per stream", "products alone ms", "share")


def step_rows(row: Json) -> Iterator[list[str]]:
    for size, ms in row["steps_ms"].items():
        products = row["products_ms"].get(size)
        yield [
            row["candidate"]["precision"],
            size,
            f"{ms:.0f}",
            f"{ms / int(size):.1f}",
            f"{products:.0f}" if products else "",
            f"{products / ms:.0%}" if products else "",
        ]


# Goals -------------------------------------------------------------------------------------------


def goals(peers: Json, memory: Json, event_loop: Json, precision: Json) -> Iterator[list[str]]:
    """Yield each goal with its figure."""
    best = max(own(peers), key=streams)
    name = best["candidate"]["precision"]
    others = [row for row in peers["rows"] if row not in own(peers)]
    funasr = [row for row in others if row["candidate"]["worker"] == "funasr"]
    onnx = [row for row in others if row["candidate"]["precision"] == "int8"]
    for title, rivals, factor in (
        ("streams of FunASR's generate loop", funasr, 20.0),
        ("streams of ONNX Runtime int8, batch 1", onnx, 2.5),
    ):
        rival = max(rivals, key=streams)
        ratio = streams(best) / max(1, streams(rival))
        measured = f"{ratio:.1f}x ({name} {streams(best)}, {rival['candidate']['name']} "
        yield [f"{factor:g}x the {title}", f"{measured}{streams(rival)})", reached(ratio >= factor)]
    size, products = next(iter(best["products_ms"].items()))
    share = products / best["steps_ms"][size]
    yield [f"60 % of the {name} GEMM limit", f"{share:.0%}", reached(share >= 0.6)]
    rival_ms = min(row["all_cores_ms"] for row in funasr)
    yield [
        "a batch of one is not slower than FunASR's step",
        f"{best['all_cores_ms']:.0f} ms, FunASR {rival_ms:.0f} ms",
        reached(best["all_cores_ms"] <= rival_ms),
    ]
    if memory:
        yield from memory_goals(memory)
    if event_loop:
        p99 = max(row["p99_ms"] for row in event_loop["rows"])
        yield ["event loop p99 under 20 ms, saturated", f"{p99:.1f} ms", reached(p99 < 20)]
    if precision:
        reduced = [row for row in precision["rows"] if row["dtype"] != "float32"]
        agreement = 1 - max(row["differing"] / row["tokens"] for row in reduced)
        yield ["99.5 % of float32's tokens", f"{agreement:.2%}", reached(agreement >= 0.995)]


def memory_goals(memory: Json) -> Iterator[list[str]]:
    largest = max(row["rest_mb"] for row in memory["rows"])
    yield ["at most 1.3 GB resident, idle", f"{largest / 1000:.2f} GB", reached(largest <= 1300)]
    per_stream = max(row["a_stream_mb"] for row in memory["rows"])
    yield ["at most 8 MB per open stream", f"{per_stream:.1f} MB", reached(per_stream <= 8)]
    early, late, count = churn_means(memory)
    growth = (late - early) / early
    yield [f"no growth over {count} streams", f"{growth:+.1%}", reached(growth < 0.01)]


def second_pass_goals(figures: Json) -> Iterator[list[str]]:
    for goal, measured, yes in second_pass_report.goals(figures):
        yield [goal, measured, reached(yes)]


def reached(yes: bool) -> str:
    return "yes" if yes else "**no**"


# Precision, memory, event loop -------------------------------------------------------------------

PRECISION = ("precision", "different tokens", "agreement", "different recordings", "CER")


def precision_row(row: Json) -> list[str]:
    return [
        row["dtype"],
        f"{row['differing']} of {row['tokens']}",
        f"{1 - row['differing'] / row['tokens']:.2%}",
        str(row["recordings_differing"]),
        f"{row['cer']:.2%}",
    ]


MEMORY = ("precision", "idle MB", "after the first stream MB", "open streams", "MB per stream")


def memory_row(row: Json) -> list[str]:
    return [
        row["dtype"],
        f"{row['rest_mb']:.0f}",
        f"{row['after_first_mb']:.0f}",
        str(row["streams"]),
        f"{row['a_stream_mb']:.1f}",
    ]


def churn_means(memory: Json) -> tuple[float, float, int]:
    """Return mean memory over the second and the last fifth of the streams, and their number."""
    churn = next(row["churn"] for row in memory["rows"] if row["churn"])
    values = np.array([mb for _, mb in churn])
    fifth = len(values) // 5
    count = round(churn[-1][0] / (1 - 1 / len(churn)), -2)
    return float(values[fifth : 2 * fifth].mean()), float(values[-fifth:].mean()), int(count)


EVENT_LOOP = (
    "precision",
    "streams",
    "device busy",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "p99.9 ms",
    "max ms",
)


def event_loop_row(row: Json) -> list[str]:
    lateness = [row[name] for name in ("p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")]
    busy = row["server"].get("busy")
    return [
        row["dtype"],
        str(row["streams"]),
        f"{busy:.0%}" if busy else "",
        *(f"{ms:.1f}" for ms in lateness),
    ]


# Plots -------------------------------------------------------------------------------------------


def draw_streams(peers: Json, path: Path) -> None:
    rows = sorted(peers["rows"], key=streams)
    title = (
        "Real-time streams sustained, random weights in the production model's size\n"
        f"{processor(peers)}"
    )
    figure, (axes,) = plotting.new_figure(title, 0.42 * len(rows) + 1.4)
    names = [f"{row['candidate']['name']}, {row['candidate']['precision']}" for row in rows]
    colours = [plotting.ENGINE if row in own(peers) else plotting.PEER for row in rows]
    bars = axes.barh(names, [streams(row) for row in rows], color=colours, height=0.68)
    axes.bar_label(bars, padding=4, color=plotting.MUTED)
    axes.set_xlabel(f"streams with p95 of the chunk delay under {1000 * CHUNK_DELAY_S:.0f} ms")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    plotting.save(figure, path)


def draw_memory(memory: Json, path: Path) -> None:
    rows = [row for row in memory["rows"] if row["churn"]]
    title = (
        "Server memory while streams are opened and closed, weights of the production model's size"
        f"\n{processor(memory)}"
    )
    figure, (axes,) = plotting.new_figure(title, 3.2)
    for row in rows:
        numbers, values = zip(*row["churn"], strict=True)
        axes.plot(numbers, values, color=plotting.ENGINE, label=f"{row['dtype']}, under load")
        axes.axhline(
            row["rest_mb"], color=plotting.MUTED, lw=0.8, ls=":", label=f"{row['dtype']}, idle"
        )
    axes.set_ylim(0, 1.2 * max(mb for row in rows for _, mb in row["churn"]))
    axes.set_xlabel("streams opened and closed")
    axes.set_ylabel("resident memory, MB")
    axes.legend(ncols=2, loc="lower right", frameon=False)
    plotting.save(figure, path)


if __name__ == "__main__":
    main()
