"""Render the figures of `benchmarks.second_pass` for RESULTS.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import plotting

Json = dict[str, Any]

SENTENCES = ("engine", "precision", "sentence", "alone ms", "4 at once ms", "8 at once ms", "best")
SERVER = (
    "second pass",
    "streams held",
    "at streams",
    "final p50 / p95 ms",
    "finals from it",
    "outcomes",
    "device busy",
    "MB at rest / then",
)
FROM_SECOND_PASS = ("corrected", "confirmed")
"""Outcomes in which the final is that of the offline model."""


def own(engine: Json) -> bool:
    """Return whether the row is asr-server's."""
    return str(engine["worker"]).startswith("own:")


def best(sentence: Json) -> float:
    """Return the sentences per second of the machine, by the engine's best way."""
    return float(max(sentence["per_second"].values()))


def sentence_rows(figures: Json) -> Iterator[list[str]]:
    """Yield engine by engine, sentence by sentence; milliseconds of each sentence of a batch."""
    for engine in figures["engines"]:
        for one in engine["sentences"]:
            ways = one["per_second"]
            way = max(ways, key=ways.get)
            yield [
                engine["name"],
                engine["precision"],
                f"{one['seconds']:g} s, {one['tokens']:.0f} tokens",
                *(f"{ms:.0f}" for ms in one["ms"].values()),
                f"{best(one):.1f} per second ({way})",
            ]


def share(level: Json) -> str:
    """Return the share of finals that came from the second pass."""
    total = sum(level["outcomes"].values()) - level["outcomes"].get("discarded", 0)
    used = sum(level["outcomes"].get(outcome, 0) for outcome in FROM_SECOND_PASS)
    return f"{used / total:.0%}" if total else ""


def server_rows(figures: Json) -> Iterator[list[str]]:
    """Yield each mode at both levels."""
    for row in figures["server"]:
        for level in (row["half"], row["full"]):
            outcomes = (f"{name} {count:.0f}" for name, count in level["outcomes"].items() if count)
            yield [
                row["mode"],
                str(row["held"]),
                str(level["streams"])
                + (f" ({'; '.join(level['broken'])})" if level["broken"] else ""),
                f"{level['final_p50_ms']:.0f} / {level['final_p95_ms']:.0f}",
                share(level),
                ", ".join(outcomes),
                f"{level['busy']:.0%}",
                f"{row['rest_mb']:.0f} / {level['memory_mb']:.0f}",
            ]


def goals(figures: Json) -> Iterator[tuple[str, str, bool]]:
    """Yield each goal, its figure, and whether it is reached."""
    if engines := figures.get("engines"):
        (ours,) = (engine for engine in engines if own(engine))
        peers = [engine for engine in engines if not own(engine)]
        for number, one in enumerate(ours["sentences"]):
            rivals = [engine["sentences"][number] for engine in peers]
            what = f"sentences of {one['seconds']:g} s"
            ratio = best(one) / max(map(best, rivals))
            yield f"second pass: 2x the peers' throughput, {what}", f"{ratio:.1f}x", ratio >= 2
            alone, fastest = one["ms"]["1"], min(rival["ms"]["1"] for rival in rivals)
            yield (
                f"second pass: not slower alone, {what}",
                f"{alone:.0f} ms, peer {fastest:.0f} ms",
                alone <= fastest,
            )
    if server := figures.get("server"):
        held = {row["mode"]: row["held"] for row in server}
        yield (
            "second pass auto: not one stream less than off",
            f"{held['auto']} streams, off {held['off']}",
            held["auto"] >= held["off"],
        )
        most = max(max(row["rest_mb"], row["full"]["memory_mb"]) for row in server)
        yield "second pass: under 1.6 GB with both models", f"{most / 1000:.2f} GB", most < 1600


def parts(figures: Json, table: Any) -> list[str]:
    """Return the sections; `table` renders a header and rows."""
    written = [
        "## Second pass",
        "Random weights in the size of the offline model with hotwords (SeACo), no list given.",
    ]
    if "engines" in figures:
        written += [
            f"{figures['measured']['engines']['on']}. Each engine with the same sentences. "
            "Milliseconds are those of one sentence, on all cores; the last column is the "
            "machine's throughput, by the engine's best way.",
            table(SENTENCES, list(sentence_rows(figures))),
            "![Sentences per second of each engine](plots/second_pass.png)",
        ]
    if "server" in figures:
        written += [
            f"{figures['measured']['server']['on']}. "
            "A whole server with both models, in the precision that it chooses here, with the "
            "clients of `asr-server bench`: at half of the streams that it holds without a second "
            "pass, and at all of them.",
            table(SERVER, list(server_rows(figures))),
        ]
    return written


def draw(figures: Json, path: Path, processor: str) -> None:
    """Draw the throughput of each engine by the length of the sentence."""
    engines = figures["engines"]
    title = f"Whole sentences per second, random weights in the offline model's size\n{processor}"
    figure, (axes,) = plotting.new_figure(title, 3.2)
    width = 0.8 / len(engines)
    greys = iter((plotting.PEER, plotting.MUTED, plotting.TREND))
    for number, engine in enumerate(engines):
        values = [best(one) for one in engine["sentences"]]
        places = [n + (number - (len(engines) - 1) / 2) * width for n in range(len(values))]
        colour = plotting.ENGINE if own(engine) else next(greys)
        label = f"{engine['name']}, {engine['precision']}"
        bars = axes.bar(places, values, width * 0.92, color=colour, label=label)
        axes.bar_label(bars, fmt="%.1f", padding=2, color=plotting.MUTED)
    lengths = [f"{one['seconds']:g} s" for one in engines[0]["sentences"]]
    axes.set_xticks(range(len(lengths)), lengths)
    axes.set_xlabel("length of the sentence")
    axes.set_ylabel("sentences per second")
    axes.grid(visible=False, axis="x")
    highest = max(best(one) for engine in engines for one in engine["sentences"])
    axes.set_ylim(0, 1.3 * highest)
    axes.legend(frameon=False, ncols=len(engines), loc="upper right")
    plotting.save(figure, path)
