"""Measure how many real-time streams this machine sustains with each engine.

    python -m benchmarks.peers prepare      once: environment, weights, exports (3 GB in build/)
    python -m benchmarks.peers measure      writes benchmarks/results/peers.json
    python -m benchmarks.peers products     measures only the matrix products of asr-server's rows

Engines get the same speech and the same random weights in the production model's size, one engine
after the other in one run. *Sustained* streams: the largest number of real-time streams, their
chunks evenly spread, of which 95 % of the chunks have their tokens within 600 ms of their last
sample, in the second half of a run. Short runs search that number, longer runs confirm it. Linux
only.

An engine that decodes one chunk of one stream at a time gets one process of one thread per core;
asr-server is one process, as the server runs it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.environment import describe
from benchmarks.full_size import full_size, write_speech
from benchmarks.measuring_process import TICKS, MeasuringProcess
from benchmarks.paced import Run, summary
from benchmarks.peer_worker import CHUNK_S
from benchmarks.step import gemm_limit

ENVIRONMENT = Path("build/peers/venv")
ONNX = Path("build/peers/onnx")
REQUIREMENTS = Path("benchmarks/requirements-peers.txt")
RESULTS = Path("benchmarks/results/peers.json")
CORES = os.cpu_count() or 1
BATCHES = [1, 8, 32]
MAX_OTHER_LOAD, MAX_TRIES, MAX_WAIT_S = 0.05, 3, 30.0
"""A run is repeated if other processes used more than this share of the cores; at most so many
times, each after waiting at most so long for an idle machine."""
RESOLUTION = 25
"""The search ends within this fraction of the sustained streams: 25 is 4 %."""

app = typer.Typer(no_args_is_help=True, help=__doc__)
console = Console(width=160, highlight=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Describe one row of the table: an engine and how it runs."""

    worker: str
    name: str
    precision: str
    includes: str
    processes: int = 1
    threads: int = CORES

    @property
    def own(self) -> bool:
        return self.worker.startswith("own:")


EVERYTHING = "VAD, features, model, sentences"
FEATURES = "features, model"
PER_CORE = {"processes": CORES, "threads": 1}
CANDIDATES = (
    Candidate("funasr", "FunASR generate", "float32", FEATURES, **PER_CORE),
    Candidate("funasr-one", "FunASR generate, one process", "float32", FEATURES),
    Candidate("sherpa-onnx", "sherpa-onnx", "int8", FEATURES, **PER_CORE),
    Candidate("funasr-onnx", "funasr-onnx [5,10,5]", "int8", FEATURES, **PER_CORE),
    Candidate("funasr-onnx-lean", "funasr-onnx [0,10,5]", "int8", FEATURES, **PER_CORE),
    Candidate("own:float32", "asr-server", "float32", EVERYTHING),
    Candidate("own:bfloat16", "asr-server", "bfloat16", EVERYTHING),
    Candidate("own:int8", "asr-server", "int8", EVERYTHING),
)


def measuring_process(
    candidate: Candidate, threads: int, log: Path, step_threads: int = 0
) -> MeasuringProcess:
    """Start `benchmarks.peer_worker` for a candidate."""
    python = sys.executable if candidate.own else ENVIRONMENT / "bin/python"
    onnx = candidate.precision == "int8" and not candidate.own
    model = ONNX if onnx else full_size()
    command = [python, "-m", "benchmarks.peer_worker", candidate.worker, model]
    environment = {"ASR_STEP_THREADS": str(step_threads)}
    return MeasuringProcess([*command, write_speech(), str(threads)], threads, log, **environment)


def machine_s() -> float:
    """Return the CPU seconds of all cores since boot that were used by, or stolen from, them."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, stolen = map(int, fields)
    return (user + nice + system + irq + softirq + stolen) / TICKS


def wait_for_idle_machine() -> None:
    """Wait until other processes use little, for at most `MAX_WAIT_S`."""
    for _ in range(int(MAX_WAIT_S)):
        used = machine_s()
        time.sleep(1.0)
        if (machine_s() - used) / CORES < MAX_OTHER_LOAD:
            return


def most_sustained(
    run: Callable[[int, float], Run], guess: int, probe_s: float, seconds: float
) -> Run:
    """Search near `guess`, then confirm; return the run with the most sustained streams.

    The probes are short and the host is shared: when the number they found is confirmed at once,
    runs of full length try more streams.
    """
    sustained, failed, streams = 0, 0, max(1, guess)
    while not failed or failed - sustained > resolution(sustained):
        if run(streams, probe_s).sustained:
            sustained = streams
        else:
            failed = streams
        if sustained and failed:
            streams = (sustained + failed) // 2
        else:
            streams = streams * 5 // 4 + 1 if sustained else streams * 4 // 5
        if not streams:
            break
    streams = max(1, sustained)
    confirmed = run(streams, seconds)
    if confirmed.sustained:
        while (more := run(confirmed.streams + resolution(streams), seconds)).sustained:
            confirmed = more
    while not confirmed.sustained and streams > 1:
        streams -= resolution(streams)
        confirmed = run(streams, seconds)
    return confirmed


def resolution(streams: int) -> int:
    """Return the difference of two runs near a number of streams."""
    return max(1, streams // RESOLUTION)


@dataclass
class Measured:
    """Hold a candidate's figures."""

    candidate: Candidate
    one_thread_ms: float
    """A chunk of one stream on one thread, on an otherwise idle machine."""
    all_cores_ms: float
    """A chunk of one stream in one process with a thread per core."""
    steps_ms: dict[str, float]
    """A step by its number of streams, all cores."""
    products_ms: dict[str, float]
    """The matrix products of such a step alone, where they are measured."""
    run: Run | None = None
    runs: list[Run] = field(default_factory=list)


def measure_one(candidate: Candidate, probe_s: float, seconds: float) -> Measured:
    """Measure service times, then search the sustained streams."""
    logs = Path("build/peers")
    services = {}
    # Processes of their own: a process that has multiplied on two threads stays slower on one. One
    # step thread, so that all cores compute the same step.
    for threads in (1, CORES):
        log = logs / "service.log"
        with measuring_process(candidate, threads, log, step_threads=1) as worker:
            worker.answer()
            services[threads] = service(worker, threads)
    products = products_ms(candidate)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                measuring_process(
                    candidate, candidate.threads, logs / f"{candidate.worker}-{number}.log"
                )
            )
            for number in range(candidate.processes)
        ]
        for worker in workers:
            worker.answer()
        one, whole = services[1], services[CORES]
        measured = Measured(
            candidate, one["steps"]["1"], whole["steps"]["1"], whole["steps"], products
        )

        def run(streams: int, seconds: float) -> Run:
            for _ in range(MAX_TRIES):
                wait_for_idle_machine()
                if (result := run_once(streams, seconds)).others < MAX_OTHER_LOAD:
                    break
            return result

        def run_once(streams: int, seconds: float) -> Run:
            began, used = time.time(), machine_s() - sum(worker.cpu_s for worker in workers)
            at = began + 0.5
            for number, worker in enumerate(workers):
                share = {} if candidate.own else {"first": number, "every": len(workers), "at": at}
                worker.send(do="paced", streams=streams, seconds=seconds, **share)
            answers = [worker.answer() for worker in workers]
            used = machine_s() - sum(worker.cpu_s for worker in workers) - used
            others = used / CORES / (time.time() - began)
            result = replace(summary(streams, seconds, answers), others=others)
            measured.runs.append(result)
            console.print(
                f"  {streams} streams, {seconds:.0f} s: p95 {result.p95_ms:.0f} ms, busy"
                f" {result.busy:.0%}, decoded {result.computed:.0%}, {result.tokens_a_chunk:.1f}"
                f" tokens a chunk, {result.chunks_a_step:.1f} chunks a step, others"
                f" {result.others:.0%}"
            )
            return result

        fastest = max(
            int(size) / ms for size, ms in services[candidate.threads]["steps"].items()
        )  # chunks per millisecond
        guess = int(0.9 * candidate.processes * 1000 * CHUNK_S * fastest)
        measured.run = most_sustained(run, guess, probe_s, seconds)
    return measured


def service(worker: MeasuringProcess, threads: int) -> Any:
    """Measure steps without waiting; large batches only where all cores take part."""
    worker.send(do="service", batches=[1] if threads < CORES else BATCHES)
    return worker.answer()


def products_ms(candidate: Candidate) -> dict[str, float]:
    """Return the time of the matrix products of asr-server's largest step.

    Measured in a process that computes nothing else, for the reason in `measure_one`.
    """
    if not candidate.own:
        return {}
    largest = max(BATCHES)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        limit = process.submit(gemm_limit, full_size(), candidate.precision, largest).result()
    return {str(largest): 1000 * limit.step_s}


@app.command()
def products(
    to: Annotated[Path, typer.Option(help="The file to update.")] = RESULTS,
) -> None:
    """Measure only the matrix products of asr-server's steps."""
    report = json.loads(to.read_text("utf-8"))
    own = {one.worker: one for one in CANDIDATES if one.own}
    for row in report["rows"]:
        if row["candidate"]["worker"] in own:
            row["products_ms"] = products_ms(own[row["candidate"]["worker"]])
            console.print(row["candidate"]["precision"], row["products_ms"])
    to.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


@app.command()
def prepare() -> None:
    """Install the peers, make the weights and export them."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
    model = full_size()
    if not (ONNX / "tokens.txt").exists():
        export = [python, "-m", "benchmarks.peer_export", "streaming", model, ONNX]
        subprocess.run(export, check=True)


@app.command()
def measure(
    only: Annotated[str, typer.Option(help="Only these workers, by commas; other rows stay.")] = "",
    probe_s: Annotated[float, typer.Option(help="Seconds of each run of the search.")] = 8.0,
    seconds: Annotated[float, typer.Option(help="Seconds of the confirming run.")] = 30.0,
    rounds: Annotated[
        int,
        typer.Option(help="Measurements of every engine, in turns; the best counts."),
    ] = 1,
    to: Annotated[Path, typer.Option(help="The file to write.")] = RESULTS,
) -> None:
    """Measure every engine; the machine must do nothing else."""
    rows: dict[str, Any] = {}
    if only and to.exists():
        rows = {row["candidate"]["worker"]: row for row in json.loads(to.read_text())["rows"]}
    chosen = [one for one in CANDIDATES if not only or one.worker in only.split(",")]
    measured: dict[str, list[dict[str, Any]]] = {one.worker: [] for one in chosen}
    for candidate in chosen * rounds:
        measured[candidate.worker].append(measured_row(candidate, probe_s, seconds))
    for worker, of_rounds in measured.items():
        streams = [row["run"]["streams"] for row in of_rounds]
        # Other load only lowers the figure: a number sustained once is one the machine sustains.
        rows[worker] = {**of_rounds[streams.index(max(streams))], "rounds": streams}
    to.parent.mkdir(exist_ok=True)
    report = {
        "environment": describe(),
        "peers": _peer_versions(),
        "seconds": seconds,
        "rows": [rows[one.worker] for one in CANDIDATES if one.worker in rows],
    }
    to.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


def measured_row(candidate: Candidate, probe_s: float, seconds: float) -> dict[str, Any]:
    """Run `measure_one`, print its figures and return the row to store."""
    console.print(
        f"{candidate.name}, {candidate.precision}: {candidate.processes} processes"
        f" with {candidate.threads} threads"
    )
    measured = measure_one(candidate, probe_s, seconds)
    console.print(
        f"  {measured.one_thread_ms:.1f} ms a chunk on one thread,"
        f" {measured.all_cores_ms:.1f} on {CORES}"
    )
    return {**asdict(measured), "ended": time.strftime("%F %H:%M")}


def _peer_versions() -> list[str]:
    lines = REQUIREMENTS.read_text().splitlines()
    return [line.replace("==", " ") for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    app()
