"""Measure well-behaved clients, memory and the log of a server beside every attack.

    python -m benchmarks.attacks                                   all attacks, 20 s each
    python -m benchmarks.attacks --only silent_sockets,non_finite --output build/attacks.json
    python -m benchmarks.attacks --checkout ../older --output benchmarks/results/attacks_before.json
    python -m benchmarks.attacks --url ws://127.0.0.1:8000 --pid 4711 --log server.log

Eight live streams run beside each attack of tests/support/attacks, which runs in a process of its
own with a lower priority. The server has its default settings, the demo model, and 1024 file
descriptors, which is the usual limit; it is started anew if an attack leaves it unusable. Memory is
that of all its processes. Figures that exist are kept for attacks that are not run.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from asr_server.load.figures import figures
from asr_server.load.load_generator import RETRY_PAUSE_S
from asr_server.load.recordings import Recording, read_recordings
from asr_server.load.task_record import TaskRecord
from benchmarks.attack_figures import RECOVERY_S, Observed, held, line
from benchmarks.attack_process import find_attacks
from benchmarks.environment import processor
from benchmarks.server_process import ServerProcess, server_process

with suppress(ImportError):  # Windows has no such limits
    import resource

STREAMS = 8
FILES = 1024
WARM_UP_S = 8.0
LEAD_S = 1.0
"""How long an attack runs before the streams begin."""
RSS_MB = 50.0
"""Growth of memory that counts as none."""
BASELINE = "nothing"
RESULTS = Path("benchmarks/results/attacks.json")

console = Console(width=140, highlight=False)


@dataclass(frozen=True, slots=True)
class Server:
    """Hold where a server is and what can be seen of it."""

    url: str
    pid: int | None
    log: Path | None


# One attack --------------------------------------------------------------------------------------


async def observe(
    server: Server, recordings: tuple[Recording, ...], name: str, seconds: float
) -> Observed:
    """Run the streams beside an attack, then wait until the server is as before."""
    clock = asyncio.get_running_loop().time
    log_begin = server.log.stat().st_size if server.log else 0
    rss_before = await _rss_mb(server)
    attacking = None if name == BASELINE else await _start(name, server.url, seconds + LEAD_S)
    await asyncio.sleep(LEAD_S)
    began, records, rss = clock(), [], [rss_before]
    streams = [
        asyncio.create_task(_stream(number, server.url, recordings, began + seconds, records))
        for number in range(STREAMS)
    ]
    while not all(stream.done() for stream in streams):
        rss.append(await _rss_mb(server))
        await asyncio.sleep(0.2)
    await asyncio.gather(*streams)
    ended = clock()
    refused = await _refused(attacking) if attacking else {}
    over = clock()
    back_s: float | None = None
    while back_s is None and clock() < over + RECOVERY_S:
        rss.append(await _rss_mb(server))
        left_open = await _open(server.url)
        if rss[-1] <= rss_before + RSS_MB and left_open == {}:
            back_s = clock() - over
        else:
            await asyncio.sleep(0.5)
    seen = figures(records, began, ended)
    errors, tracebacks, log_mb = _log(server.log, log_begin)
    return Observed(
        first_text_p95_s=seen.first_text.p95,
        final_p95_s=seen.final.p95,
        finished=seen.finished,
        failed=dict(Counter(record.error for record in records if record.error)),
        rss_before_mb=rss_before,
        rss_max_mb=max(rss),
        rss_after_mb=rss[-1],
        back_s=back_s,
        refused=refused,
        errors=errors,
        tracebacks=tracebacks,
        log_mb=log_mb,
        late_p99_s=seen.late.p99,
        left_open=left_open or {},
    )


async def _stream(
    number: int,
    url: str,
    recordings: tuple[Recording, ...],
    until: float,
    records: list[TaskRecord],
) -> None:
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(0.37 * number)
    target = Target(f"{url}/api-ws/v1/inference", timeout_s=15)
    for turn in count(number):
        recording = recordings[turn % len(recordings)]
        if clock() + recording.duration_s >= until and turn > number:
            return
        record = await run_client(target, recording, records=records)
        if record.error is not None:
            await asyncio.sleep(RETRY_PAUSE_S)


async def _start(name: str, url: str, seconds: float) -> asyncio.subprocess.Process:
    nice = ["nice"] if os.name == "posix" else []
    command = [*nice, sys.executable, "-m", "benchmarks.attack_process", name, url, str(seconds)]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def _refused(process: asyncio.subprocess.Process) -> dict[str, int]:
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        found: dict[str, int] = json.loads(out)
        return found
    except (asyncio.TimeoutError, ValueError):
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return {"the attack's process did not end": 1}


async def _rss_mb(server: Server) -> float:
    """Return the memory of the server's processes; without a pid, what its metrics say."""
    if server.pid is None:
        reading = await server_metrics.sample(server.url)
        return reading["rss_bytes"] / 2**20 if reading else 0.0
    return sum(_process_rss_mb(pid) for pid in _family(server.pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))


def _process_rss_mb(pid: int) -> float:
    """Return a process's own memory: pages shared with its parent count once, in the parent."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


async def _open(url: str) -> dict[str, float] | None:
    """Return the metrics of open things that are not zero; None without an answer."""
    samples = await server_metrics.scrape(url)
    if not samples:
        return None
    names = ("asr_open_connections", "asr_open_tasks", "asr_used_slots")
    return {name: samples[name] for name in names if samples.get(name)}


def _log(log: Path | None, begin: int) -> tuple[int, int, float]:
    """Return the records at ERROR, the tracebacks, and the megabytes written since `begin`."""
    if log is None:
        return 0, 0, 0.0
    errors = tracebacks = 0
    with log.open("rb") as file:
        file.seek(begin)
        for line in file:
            errors += b'"level": "error"' in line or b'"level": "critical"' in line
            tracebacks += b"Traceback" in line or b'"stack": ' in line
    return errors, tracebacks, (log.stat().st_size - begin) / 2**20


# All attacks -------------------------------------------------------------------------------------


@contextmanager
def _limited_files() -> Iterator[None]:
    """Let processes started meanwhile have the usual limit of file descriptors."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    except NameError:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def main(
    output: Annotated[Path, typer.Option(help="File for the figures.")] = RESULTS,
    only: Annotated[str, typer.Option(help="Attacks, by commas; all without.")] = "",
    seconds: Annotated[float, typer.Option(help="Length of each attack.")] = 20,
    url: Annotated[str, typer.Option(help="A running server, as ws://127.0.0.1:8000.")] = "",
    pid: Annotated[int | None, typer.Option(help="Its process, for memory.")] = None,
    log: Annotated[Path | None, typer.Option(help="Its log, as JSON lines.")] = None,
    checkout: Annotated[Path, typer.Option(help="Whose server to start.")] = Path("."),
) -> None:
    """Run the attacks; the exit status is 1 if the goals are missed beside one of them."""
    known = find_attacks()
    names = [BASELINE, *(only.split(",") if only else known)]
    if unknown := set(names) - {BASELINE, *known}:
        raise typer.BadParameter(f"{', '.join(unknown)}; known: {', '.join(known)}")
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="attacks-"))
    recordings = tuple(one for one in read_recordings([], 1.0, 0.8) if one.duration_s < seconds / 2)
    kept = json.loads(output.read_text(encoding="utf-8"))["attacks"] if output.exists() else {}
    about = f"{processor()}, commit {_commit(checkout)}"
    results: dict[str, Any] = {"environment": about, "seconds": seconds, "attacks": kept}
    waiting = list(names)

    def observe_some(server: Server) -> None:
        """Run attacks until none is left or the server has to be started anew."""
        if server.pid is not None and url == "":
            asyncio.run(observe(server, recordings, BASELINE, WARM_UP_S))
        while waiting:
            name = waiting.pop(0)
            seen = asyncio.run(observe(server, recordings, name, seconds))
            results["attacks"][name] = asdict(seen)
            output.write_text(json.dumps(results, indent=1), encoding="utf-8")
            console.print(f"{name}: {line(seen)}")
            if seen.back_s is None:
                return

    while waiting:
        if url:
            observe_some(Server(url, pid, log))
            continue
        with _started(scratch, checkout) as process:
            log_file = scratch / "server.log"
            observe_some(Server(process.url.partition("/api")[0], process.process.pid, log_file))
    missed = [name for name in names if not held(results["attacks"][name])]
    console.print(f"goals missed: {', '.join(missed) or 'none'}")
    raise typer.Exit(1 if missed else 0)


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


@contextmanager
def _started(scratch: Path, checkout: Path) -> Iterator[ServerProcess]:
    settings = {
        "ASR_LOG_FORMAT": "json",
        "ASR_DATABASE_URL": f"sqlite:///{scratch}/lists.sqlite3",
    }
    source = checkout.resolve() / "src"
    log = scratch / "server.log"
    with _limited_files():
        with server_process(log, "--model", "demo", source=source, **settings) as process:
            yield process


if __name__ == "__main__":
    typer.run(main)
