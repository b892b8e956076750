"""Measure the second pass: sentences alone and in batches, beside its peers and in a server.

    python -m benchmarks.second_pass prepare     once: environment, weights, export (4 GB in build/)
    python -m benchmarks.second_pass measure     writes benchmarks/results/second_pass.json

`measure` runs what is missing of `sentences` and `server`; each is a command, too, and
measures again. All engines get the same speech and the same random weights in the
production model's size (SeACo), without hotwords. 8-bit integers where the processor has AVX2,
else float32; FunASR's `AutoModel` always float32.

sentences   milliseconds of one call with one sentence, on all cores; sentences per second of the
            whole machine, by the best way of each engine: batches on all cores, or one process of
            one thread per core
server      off, auto and on: streams held within all goals; latency, the finals by the outcome of
            the second pass and resident memory, at the streams that the server holds without it
            and at half of them
"""

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml
from rich.console import Console

from asr_server.asr.loading.precision import best_dtype
from asr_server.load import server_metrics
from asr_server.load.client_run import Target
from asr_server.load.load_generator import Level, LoadGenerator, warm_up
from asr_server.load.recordings import Recording, read_recordings
from asr_server.load.search import binary, held
from asr_server.protocol.models import PARAFORMER
from benchmarks.environment import describe
from benchmarks.full_size import full_size, full_size_second_pass, write_speech
from benchmarks.goals import GOALS
from benchmarks.measuring_process import MeasuringProcess
from benchmarks.memory import TRIMMED_S, resident_mb
from benchmarks.peers import ENVIRONMENT, REQUIREMENTS
from benchmarks.server_process import ServerProcess, server_process

RESULTS = Path("benchmarks/results/second_pass.json")
FOLDER = Path("build/second_pass")
ONNX = FOLDER / "onnx"
BICIF = FOLDER / "bicif"
CORES = os.cpu_count() or 1
OWN_DTYPE = best_dtype(torch.device("cpu"))
"""What the server chooses here."""
SECONDS = (2.0, 5.0, 10.0)
BATCHES = (1, 4, 8)
MODES = ("off", "auto", "on")
QUIET_S = 2.0

Json = dict[str, Any]
Plan = Callable[[dict[int, bool]], int | None]
"""Returns the streams to try next, or None at the end."""

app = typer.Typer(no_args_is_help=True, help=__doc__)
console = Console(width=120, highlight=False)


# Engines -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Engine:
    """Describe an engine and where its model is."""

    worker: str
    name: str
    precision: str
    model: Callable[[], Path]

    @property
    def own(self) -> bool:
        return self.worker.startswith("own:")


ENGINES = (
    Engine("funasr", "FunASR AutoModel", "float32", full_size_second_pass),
    Engine("funasr-onnx", "funasr-onnx", "int8", lambda: ONNX),
    Engine(f"own:{OWN_DTYPE}", "asr-server", OWN_DTYPE, full_size_second_pass),
)


def measuring_process(engine: Engine, threads: int, log: Path) -> MeasuringProcess:
    """Start `benchmarks.second_pass_worker` for an engine."""
    python = sys.executable if engine.own else ENVIRONMENT / "bin/python"
    command = [python, "-m", "benchmarks.second_pass_worker", engine.worker, engine.model()]
    return MeasuringProcess([*command, write_speech(), str(threads)], threads, log)


@contextmanager
def processes(engine: Engine, number: int, threads: int) -> Iterator[list[MeasuringProcess]]:
    """Start processes of an engine and wait until all are ready."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                measuring_process(engine, threads, FOLDER / f"{engine.worker}-{one}.log")
            )
            for one in range(number)
        ]
        for process in started:
            process.answer()
        yield started


def measured_engine(engine: Engine, for_s: float) -> Json:
    """Return an engine's milliseconds a call by sentence and batch, and its best throughput."""
    row: Json = {"worker": engine.worker, "name": engine.name, "precision": engine.precision}
    row["sentences"] = [{"seconds": seconds, "ms": {}, "per_second": {}} for seconds in SECONDS]
    with processes(engine, 1, CORES) as (process,):
        for one in row["sentences"]:
            for batch in BATCHES:
                process.send(seconds=one["seconds"], batch=batch, for_s=for_s)
                answer = process.answer()
                call_ms = statistics.median(answer["ms"])
                one["ms"][str(batch)] = call_ms / batch
                one["per_second"][f"batches of {batch}"] = 1000 * batch / call_ms
                one["tokens"] = answer["tokens"]
    if CORES > 1:  # alone on each core
        with processes(engine, CORES, 1) as all_processes:
            for one in row["sentences"]:
                for process in all_processes:
                    process.send(seconds=one["seconds"], batch=1, for_s=for_s)
                medians = [statistics.median(each.answer()["ms"]) for each in all_processes]
                one["per_second"][f"{CORES} processes"] = sum(1000 / ms for ms in medians)
    for one in row["sentences"]:
        best = max(one["per_second"].values())
        times = ", ".join(f"{ms:.0f}" for ms in one["ms"].values())
        console.print(f"  {engine.name} {one['seconds']:g} s: {times} ms; {best:.1f} per second")
    return row


# Server ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Hold how long and how far a server is measured."""

    most: int
    probe_s: float
    seconds: float
    reduced: bool


def recordings() -> Sequence[Recording]:
    """Return the recordings and the silence after them that `asr-server bench` takes."""
    return read_recordings([], QUIET_S, PARAFORMER.max_sentence_silence_ms / 1000)


@contextmanager
def server(mode: str, reduced: bool) -> Iterator[ServerProcess]:
    """Run a server of full size (or the demo) with a mode of the second pass."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    settings = {
        "ASR_SECOND_PASS": mode,
        "ASR_MAX_TASKS": "128",
        "ASR_MAX_DELAY_MS": "0",
        "ASR_DATABASE_URL": "sqlite://",
    }
    arguments = ["--model", "demo"]
    if not reduced:
        arguments = ["--model", str(full_size()), "--dtype", OWN_DTYPE]
        settings["ASR_SECOND_PASS_MODEL"] = str(full_size_second_pass())
    with server_process(FOLDER / f"server-{mode}.log", *arguments, **settings) as started:
        yield started


async def level(target: Target, streams: int, seconds: float) -> Level:
    """Measure a number of streams."""
    return await LoadGenerator(target, recordings(), streams, seconds).run(GOALS)


async def outcomes(target: Target) -> dict[str, float]:
    """Return the finals so far by the outcome of their second pass."""
    values = await server_metrics.scrape(target.url)
    name = "asr_second_pass_total{"
    return {key[len(name) : -1]: n for key, n in values.items() if key.startswith(name)}


async def searched(target: Target, tried: dict[int, bool], plan: Plan, seconds: float) -> int:
    """Run the levels of a plan and return the streams held."""
    while (streams := plan(tried)) is not None:
        seen = await level(target, streams, seconds)
        tried[streams] = seen.held
        console.print(f"  {streams} streams: {'; '.join(seen.broken) or 'held'}")
        await asyncio.sleep(1)
    return held(tried)


async def figures_at(target: Target, streams: int, seconds: float) -> Json:
    """Return the figures at one level."""
    before = await outcomes(target)
    seen = await level(target, streams, seconds)
    after = await outcomes(target)
    final = seen.clients.final
    return {
        "streams": streams,
        "final_p50_ms": 1000 * (final.p50 or 0),
        "final_p95_ms": 1000 * (final.p95 or 0),
        "finals": final.count,
        "broken": list(seen.broken),
        "busy": seen.server.busy if seen.server else 0.0,
        "memory_mb": await resident_mb(target),
        "outcomes": {name: count - before.get(name, 0) for name, count in after.items()},
    }


async def measured_mode(target: Target, without: int, first: int, options: ServerOptions) -> Json:
    """Return the figures of a server.

    `without` streams are held with the second pass off, 0 if that is to be found out. With it only
    fewer streams are tried: the question is whether any is lost.
    """
    await asyncio.sleep(0 if options.reduced else TRIMMED_S)
    row: Json = {"rest_mb": await resident_mb(target)}
    await warm_up(target, recordings())
    tried: dict[int, bool] = {}
    if not without:
        most = options.most
        without = await searched(target, tried, lambda t: binary(t, first, most), options.probe_s)
        without = max(1, without)
    row["half"] = await figures_at(target, max(1, without // 2), options.seconds)
    row["full"] = await figures_at(target, without, options.seconds)
    tried[without] = not row["full"]["broken"]
    tried[max(1, without // 2)] = not row["half"]["broken"]
    row["held"] = await searched(target, tried, between, options.probe_s)
    return {**row, "tried": tried}


def between(tried: dict[int, bool]) -> int | None:
    """Return a number between the most that held and the least that broke above it."""
    best = held(tried)
    broken = min((n for n, ok in tried.items() if not ok), default=best)
    return (best + broken) // 2 if broken - best > 1 else None


# Commands ----------------------------------------------------------------------------------------


@app.command()
def prepare() -> None:
    """Install the peers, make the weights and export them."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
    full_size()
    model = full_size_second_pass()
    if not (ONNX / "am.mvn").exists():
        # funasr-onnx runs the SeACo export only with a list of hotwords: the same weights without.
        BICIF.mkdir(parents=True, exist_ok=True)
        for name in ("tokens.json", "am.mvn", "configuration.json"):
            shutil.copy(model / name, BICIF / name)
        config = yaml.safe_load((model / "config.yaml").read_text("utf-8"))
        config["model"] = "BiCifParaformer"
        (BICIF / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
        (BICIF / "model.pt").unlink(missing_ok=True)
        (BICIF / "model.pt").symlink_to((model / "model.pt").resolve())
        export = [python, "-m", "benchmarks.peer_export", "offline", BICIF, ONNX]
        subprocess.run(export, check=True)


@app.command()
def sentences(
    for_s: Annotated[float, typer.Option(help="Seconds of each measurement.")] = 2.0,
    to: Annotated[Path, typer.Option(help="The file to update.")] = RESULTS,
) -> None:
    """Measure all engines on the same sentences."""
    update(to, engines=[measured_engine(engine, for_s) for engine in ENGINES])


@app.command("server")
def measure_server(
    first: Annotated[int, typer.Option(help="Streams tried first.")] = 8,
    most: Annotated[int, typer.Option(help="Most streams tried.")] = 128,
    probe_s: Annotated[float, typer.Option(help="Seconds of a run of the search.")] = 8.0,
    seconds: Annotated[float, typer.Option(help="Seconds at each of the compared levels.")] = 20.0,
    reduced: Annotated[bool, typer.Option(help="Try it with the demo models.")] = False,
    to: Annotated[Path, typer.Option(help="The file to update.")] = RESULTS,
) -> None:
    """Measure a whole server with the second pass off, auto and on."""
    options = ServerOptions(most, probe_s, seconds, reduced)
    rows: list[Json] = []
    for mode in MODES:
        console.print(f"second pass {mode}")
        without = rows[0]["held"] if rows else 0
        with server(mode, reduced) as started:
            row = asyncio.run(measured_mode(Target(started.url), without, first, options))
        rows.append({"mode": mode, **row})
        console.print(f"  {row['held']} held\n  {row['half']}\n  {row['full']}")
    update(to, server=rows)


@app.command()
def measure(
    to: Annotated[Path, typer.Option(help="The file to update.")] = RESULTS,
) -> None:
    """Run those measurements that the file does not have yet."""
    have = json.loads(to.read_text("utf-8")) if to.exists() else {}
    parts: Sequence[tuple[str, Callable[[], None]]] = (
        ("engines", lambda: sentences(to=to)),
        ("server", lambda: measure_server(to=to)),
    )
    for name, run in parts:
        if name not in have:
            run()


def update(path: Path, **parts: Any) -> None:
    """Put parts of the figures into the file, with what they were measured on."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    here, now = describe(), time.strftime("%F %H:%M")
    measured = kept.get("measured", {}) | {name: {"on": here, "at": now} for name in parts}
    kept |= {"environment": here, **parts, "measured": measured}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    app()
