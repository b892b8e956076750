"""Our engine against FunASR's own loop and ONNX Runtime in 8 bits: streams that a machine holds.

    python -m benchmarks.peers prepare      once: environment, weights, exports (3 GB in build/)
    python -m benchmarks.peers measure      writes benchmarks/results/peers.json
    python -m benchmarks.peers products     only the matrix products of our rows anew

Everybody hears the same speech with the same random weights in the production model's size, one
after the other in one run. Streams *held*: the most streams in real time, whose chunks come evenly
spread, of which 95 % have their tokens within 600 ms of their last sample having come, in the
second half of a run; the search goes by short runs and is confirmed by longer ones. Linux only.

What computes one chunk of one stream at a time gets a process of one thread for every core; our
engine is one process, as the server runs it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.environment import describe
from benchmarks.full_size import full_size, write_speech
from benchmarks.peer_worker import PERIOD_S
from benchmarks.step import gemm_limit

ENVIRONMENT = Path("build/peers/venv")
ONNX = Path("build/peers/onnx")
REQUIREMENTS = Path("benchmarks/requirements-peers.txt")
RESULTS = Path("benchmarks/results/peers.json")
CORES = os.cpu_count() or 1
LATE_S = 0.6
BATCHES = [1, 8, 32]
TICKS = os.sysconf("SC_CLK_TCK")
DISTURBED, TRIES, PATIENCE_S = 0.05, 3, 30.0
"""A run is repeated if more of the machine's time than this went elsewhere; so often, and after
waiting at most so long for quiet."""
FINENESS = 25
"""The search ends within this part of the streams held."""

app = typer.Typer(no_args_is_help=True, help=__doc__)
console = Console(width=160, highlight=False)


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table."""

    worker: str
    name: str
    precision: str
    includes: str
    processes: int = 1
    threads: int = CORES

    @property
    def ours(self) -> bool:
        return self.worker.startswith("ours:")


EVERYTHING = "VAD, features, model, sentences"
FEATURES = "features, model"
ONE_EACH = {"processes": CORES, "threads": 1}
CONTENDERS = (
    Contender("funasr", "FunASR generate", "float32", FEATURES, **ONE_EACH),
    Contender("funasr-one", "FunASR generate, one process", "float32", FEATURES),
    Contender("sherpa-onnx", "sherpa-onnx", "int8", FEATURES, **ONE_EACH),
    Contender("funasr-onnx", "funasr-onnx [5,10,5]", "int8", FEATURES, **ONE_EACH),
    Contender("funasr-onnx-lean", "funasr-onnx [0,10,5]", "int8", FEATURES, **ONE_EACH),
    Contender("ours:float32", "asr-server", "float32", EVERYTHING),
    Contender("ours:bfloat16", "asr-server", "bfloat16", EVERYTHING),
    Contender("ours:int8", "asr-server", "int8", EVERYTHING),
)


class Worker:
    """A process that measures on command."""

    def __init__(self, contender: Contender, threads: int, log: Path, lanes: int = 0) -> None:
        python = sys.executable if contender.ours else str(ENVIRONMENT / "bin/python")
        onnx = contender.precision == "int8" and not contender.ours
        model = ONNX if onnx else full_size()
        command = [python, "-m", "benchmarks.peer_worker", contender.worker, str(model)]
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [*command, str(write_speech()), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={
                **os.environ,
                # Otherwise a pool of its own size is made before the number of threads is set.
                "OMP_NUM_THREADS": str(threads),
                "PYTHONPATH": os.getcwd(),
                "ASR_LANES": str(lanes),
            },
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)
        self._log.close()

    @property
    def cpu_s(self) -> float:
        """Seconds of all cores that the process has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def tell(self, **command: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended; its log is {self._log.name}")
        return json.loads(line)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of some streams in real time."""

    streams: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    computed: float
    """Share of the chunks that were computed by the end."""
    busy: float
    """Share of the cores' time that was used."""
    tokens_a_chunk: float
    chunks_a_step: float = 1.0
    others: float = 0.0
    """Share of the cores' time that went elsewhere: other programs, other guests of the host."""

    @property
    def held(self) -> bool:
        return self.p95_ms < 1000 * LATE_S and self.computed > 0.9


def summary(streams: int, seconds: float, parts: Sequence[dict[str, Any]]) -> Run:
    """One run's figures from its processes' answers; the first half is warming up."""
    latencies = [late for part in parts for due, late in part["latencies"] if due > seconds / 2]
    latencies = latencies or [seconds, seconds]
    cuts = quantiles([1000 * late for late in latencies], n=100, method="inclusive")
    chunks = sum(len(part["latencies"]) for part in parts)
    return Run(
        streams,
        cuts[49],
        cuts[94],
        cuts[98],
        chunks / sum(part["due"] for part in parts),
        sum(part["busy"] for part in parts) / len(parts),
        sum(part["tokens"] for part in parts) / max(1, chunks),
        parts[0].get("batch", 1.0),
    )


def machine_s() -> float:
    """Seconds of all cores that were used since the machine started, or taken from it."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, stolen = map(int, fields)
    return (user + nice + system + irq + softirq + stolen) / TICKS


def wait_for_quiet() -> None:
    """Let other programs come to their end."""
    for _ in range(int(PATIENCE_S)):
        used = machine_s()
        time.sleep(1.0)
        if (machine_s() - used) / CORES < DISTURBED:
            return


def most_held(run: Callable[[int, float], Run], guess: int, probe_s: float, seconds: float) -> Run:
    """Search near `guess`, then confirm; the run of the most streams that were held.

    The probes are short and the host is shared: if what they found is confirmed at once, more
    streams are tried in runs of full length.
    """
    held, broken, streams = 0, 0, max(1, guess)
    while not broken or broken - held > fineness(held):
        if run(streams, probe_s).held:
            held = streams
        else:
            broken = streams
        if held and broken:
            streams = (held + broken) // 2
        else:
            streams = streams * 5 // 4 + 1 if held else streams * 4 // 5
        if not streams:
            break
    streams = max(1, held)
    confirmed = run(streams, seconds)
    if confirmed.held:
        while (more := run(confirmed.streams + fineness(streams), seconds)).held:
            confirmed = more
    while not confirmed.held and streams > 1:
        streams -= fineness(streams)
        confirmed = run(streams, seconds)
    return confirmed


def fineness(streams: int) -> int:
    """By how many streams two runs near so many differ."""
    return max(1, streams // FINENESS)


@dataclass
class Measured:
    """A contender's figures."""

    contender: Contender
    one_thread_ms: float
    """A chunk of one stream on one thread, nothing else running."""
    all_cores_ms: float
    """A chunk of one stream in one process with a thread for every core."""
    steps_ms: dict[str, float]
    """A step of so many streams, all cores."""
    products_ms: dict[str, float]
    """The matrix products of such a step by themselves, where they are known."""
    run: Run | None = None
    runs: list[Run] = field(default_factory=list)


def measure_one(contender: Contender, probe_s: float, seconds: float) -> Measured:
    """Service times, then the search."""
    logs = Path("build/peers")
    services = {}
    # In workers of their own: one that has multiplied on a second thread is slower ever after. On
    # one lane, so that all cores compute the step.
    for threads in (1, CORES):
        with Worker(contender, threads, logs / "alone.log", lanes=1) as worker:
            worker.answer()
            services[threads] = service(worker, threads)
    alone = products_ms(contender)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker(contender, contender.threads, logs / f"{contender.worker}-{number}.log")
            )
            for number in range(contender.processes)
        ]
        for worker in workers:
            worker.answer()
        one, whole = services[1], services[CORES]
        measured = Measured(
            contender, one["steps"]["1"], whole["steps"]["1"], whole["steps"], alone
        )

        def run(streams: int, seconds: float) -> Run:
            for _ in range(TRIES):
                wait_for_quiet()
                if (done := once(streams, seconds)).others < DISTURBED:
                    break
            return done

        def once(streams: int, seconds: float) -> Run:
            began, used = time.time(), machine_s() - sum(worker.cpu_s for worker in workers)
            at = began + 0.5
            for number, worker in enumerate(workers):
                share = {} if contender.ours else {"first": number, "every": len(workers), "at": at}
                worker.tell(do="paced", streams=streams, seconds=seconds, **share)
            parts = [worker.answer() for worker in workers]
            used = machine_s() - sum(worker.cpu_s for worker in workers) - used
            others = used / CORES / (time.time() - began)
            done = replace(summary(streams, seconds, parts), others=others)
            measured.runs.append(done)
            console.print(
                f"  {streams} streams, {seconds:.0f} s: p95 {done.p95_ms:.0f} ms, busy"
                f" {done.busy:.0%}, computed {done.computed:.0%}, {done.tokens_a_chunk:.1f} tokens"
                f" a chunk, {done.chunks_a_step:.1f} chunks a step, others {done.others:.0%}"
            )
            return done

        fastest = max(
            int(size) / ms for size, ms in services[contender.threads]["steps"].items()
        )  # chunks in a millisecond
        guess = int(0.9 * contender.processes * 1000 * PERIOD_S * fastest)
        measured.run = most_held(run, guess, probe_s, seconds)
    return measured


def service(worker: Worker, threads: int) -> Any:
    """Steps without waiting; large ones only where all cores take part."""
    worker.tell(do="service", batches=[1] if threads < CORES else BATCHES)
    return worker.answer()


def products_ms(contender: Contender) -> dict[str, float]:
    """Of our largest step; in a process that has computed nothing else, see `measure_one`."""
    if not contender.ours:
        return {}
    largest = max(BATCHES)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        limit = process.submit(gemm_limit, full_size(), contender.precision, largest).result()
    return {str(largest): 1000 * limit.step_s}


@app.command()
def products(
    to: Annotated[Path, typer.Option(help="Where the figures are.")] = RESULTS,
) -> None:
    """Measure only the matrix products of our steps anew."""
    report = json.loads(to.read_text("utf-8"))
    ours = {one.worker: one for one in CONTENDERS if one.ours}
    for row in report["rows"]:
        if row["contender"]["worker"] in ours:
            row["products_ms"] = products_ms(ours[row["contender"]["worker"]])
            console.print(row["contender"]["precision"], row["products_ms"])
    to.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


@app.command()
def prepare() -> None:
    """Make the environment, the weights and the exports."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
    model = full_size()
    if not (ONNX / "tokens.txt").exists():
        export = [python, "-m", "benchmarks.peer_export", model, ONNX]
        subprocess.run(export, check=True)


@app.command()
def measure(
    only: Annotated[
        str, typer.Option(help="Only these workers, with commas; other rows stay as they were.")
    ] = "",
    probe_s: Annotated[float, typer.Option(help="Seconds of a run of the search.")] = 8.0,
    seconds: Annotated[float, typer.Option(help="Seconds of the confirming run.")] = 30.0,
    rounds: Annotated[
        int, typer.Option(help="Measure everybody so often, in turns; the best round counts.")
    ] = 1,
    to: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULTS,
) -> None:
    """Measure everybody; leave the machine alone meanwhile."""
    rows: dict[str, Any] = {}
    if only and to.exists():
        rows = {row["contender"]["worker"]: row for row in json.loads(to.read_text())["rows"]}
    asked = [one for one in CONTENDERS if not only or one.worker in only.split(",")]
    measured: dict[str, list[dict[str, Any]]] = {one.worker: [] for one in asked}
    for contender in asked * rounds:
        measured[contender.worker].append(measured_row(contender, probe_s, seconds))
    for worker, of_rounds in measured.items():
        streams = [row["run"]["streams"] for row in of_rounds]
        # A shared host only ever takes: what was held once, the machine can hold.
        rows[worker] = {**of_rounds[streams.index(max(streams))], "rounds": streams}
    to.parent.mkdir(exist_ok=True)
    report = {
        "environment": describe(),
        "peers": _pinned(),
        "seconds": seconds,
        "rows": [rows[one.worker] for one in CONTENDERS if one.worker in rows],
    }
    to.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


def measured_row(contender: Contender, probe_s: float, seconds: float) -> dict[str, Any]:
    """`measure_one` as it is kept, told of on the way."""
    console.print(
        f"{contender.name}, {contender.precision}: {contender.processes} processes"
        f" with {contender.threads} threads"
    )
    measured = measure_one(contender, probe_s, seconds)
    console.print(
        f"  {measured.one_thread_ms:.1f} ms a chunk on one thread,"
        f" {measured.all_cores_ms:.1f} on {CORES}"
    )
    return {**asdict(measured), "ended": time.strftime("%F %H:%M")}


def _pinned() -> list[str]:
    lines = REQUIREMENTS.read_text().splitlines()
    return [line.replace("==", " ") for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    app()
