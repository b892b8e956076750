"""A server under three times its capacity, and with misbehaving clients.

    python -m benchmarks.chaos build/chaos                      everything, about ten minutes
    python -m benchmarks.chaos build/chaos --only overload --seconds 120

Overload: accepted streams keep their latency, the others are refused at once, and afterwards
latency and memory are as before. Each kind of misbehaviour runs beside six well-behaved clients:
neither their latency nor a character of their text may change; the server's memory stays bounded,
and no connection, task or slot is left open afterwards.
"""

import asyncio
import contextlib
import json
import math
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect

from asr_client.protocol import DEFAULT_MODEL, run_task
from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from asr_server.load.figures import Figures, Goals, figures, percentiles
from asr_server.load.load_generator import RETRY_PAUSE_S, Level, LoadGenerator
from asr_server.load.recordings import Recording, read_recordings
from asr_server.load.report import latency
from asr_server.load.search import binary, held
from asr_server.load.task_record import TaskRecord
from benchmarks.environment import describe
from benchmarks.served import served

GOALS = Goals()
ACCEPTED = replace(GOALS, first_text_s=math.inf, tail_s=math.inf)
"""Under overload only finals are in time. Previews, which bring the first text early, are dropped
first, and the queueing delay up to which tasks are admitted adds to the first text and the tail."""
TIMES = 3
"""Requested streams as a multiple of the capacity."""
REFUSED_AT_ONCE_S = 0.5
CLIENTS = 6
CALM_S = 3.0
"""Pause after a misbehaviour before open connections, tasks and slots are counted."""
WARM_UP_STREAMS, WARM_UP_S = 40, 15.0
"""Load before the measurements, so that its memory does not count as a misbehaviour's."""
WORSE_S = 0.1
"""Tolerance for the clients' p95: of some twenty tasks it varies that much by itself."""
RSS_MB = 64.0
"""Tolerance for memory: buffers of a thousand connections, and freed heap not yet returned."""
SLOW_TIMEOUT_S = "10"
"""`ASR_INPUT_TIMEOUT_S` and `ASR_IDLE_TIMEOUT_S` here, in place of 23 and 60 s."""
TCP_REPAIR = 19

console = Console(width=140, highlight=False)


# Overload ----------------------------------------------------------------------------------------


async def overload(
    url: str, recordings: tuple[Recording, ...], seconds: float, holds: int
) -> dict[str, Any]:
    """Measure three times the capacity, and a quarter of the capacity before and after."""
    target = Target(url)
    holds = holds or await _streams_held(target, recordings)
    before = await LoadGenerator(target, recordings, max(2, holds // 4), 20).run(GOALS)
    rss = await _rss_mb(url)
    generator = LoadGenerator(target, recordings, TIMES * holds, seconds)
    during = await generator.run(GOALS)
    rss_during = await _rss_mb(url)
    await asyncio.sleep(CALM_S)
    after = await LoadGenerator(target, recordings, max(2, holds // 4), 20).run(GOALS)
    rss_after = await _rss_mb(url)
    refusals = percentiles(r.ended - r.began for r in generator.records if r.refused and r.ended)
    _show_levels({"before": before, f"{TIMES} x {holds}": during, "after": after})
    console.print(
        f"refused after {latency(refusals, REFUSED_AT_ONCE_S)} ms; "
        f"memory {rss:.0f} MB, {rss_during:.0f} under load, {rss_after:.0f} afterwards"
    )
    problems = [
        f"overload: {one}"
        for one in during.clients.broken(ACCEPTED)
        if not one.endswith(" refused")  # refusals are expected
    ]
    if during.clients.unreliable(GOALS):
        problems.append("overload: the load generator itself was late")
    if not during.clients.refused:
        problems.append("overload: no task was refused")
    if (refusals.p95 or 0) > REFUSED_AT_ONCE_S:
        problems.append("overload: refusals came late")
    problems += [
        f"after overload: {one}"
        for one in after.clients.broken(ACCEPTED)
        if one not in before.clients.broken(ACCEPTED)
    ]
    if rss_after > rss_during + RSS_MB:  # the heap keeps the memory of that many streams
        problems.append(f"after overload: {rss_after - rss_during:.0f} MB more")
    return {
        "holds": holds,
        "accepted_finished": during.clients.finished,
        "refused": during.clients.refused,
        "refusal_p95_s": refusals.p95,
        "first_text_p95_s": during.clients.first_text.p95,
        "final_p95_s": during.clients.final.p95,
        "tail_p95_s": during.clients.tail.p95,
        "late_p99_s": during.clients.late.p99,
        "rss_mb": [rss, rss_during, rss_after],
        "problems": problems,
    }


async def _streams_held(target: Target, recordings: tuple[Recording, ...]) -> int:
    tried: dict[int, bool] = {}
    while (streams := binary(tried, 8, 256)) is not None:
        level = await LoadGenerator(target, recordings, streams, 10).run(GOALS)
        tried[streams] = level.held
        console.print(f"{streams} streams: {'held' if level.held else '; '.join(level.broken)}")
        await asyncio.sleep(2)
    return max(1, held(tried))


# Misbehaviour ------------------------------------------------------------------------------------


@asynccontextmanager
async def no_misbehaviour(url: str, recording: Recording) -> AsyncIterator[None]:
    """The baseline."""
    yield


@asynccontextmanager
async def idle_connections(url: str, recording: Recording) -> AsyncIterator[None]:
    """1000 handshakes and no task."""
    async with contextlib.AsyncExitStack() as open_ones:
        for _ in range(20):
            await asyncio.gather(
                *(open_ones.enter_async_context(_connected(url)) for _ in range(50)),
                return_exceptions=True,  # the last ones are refused
            )
        yield


@asynccontextmanager
async def no_handshakes(url: str, recording: Recording) -> AsyncIterator[None]:
    """500 TCP connections that send nothing, or half a request."""
    sockets = []
    for number in range(500):
        sockets.append(opened := await _tcp(url))
        if number % 2:
            opened[1].write(b"GET /api-ws/v1/inference HTTP/1.1\r\nUpgrade: webso")
    yield
    for _, writer in sockets:
        writer.transport.abort()


@asynccontextmanager
async def slow_readers(url: str, recording: Recording) -> AsyncIterator[None]:
    """6 clients that send audio and read no result."""

    async def unreading() -> None:
        with contextlib.suppress(Exception):
            async with _connected(url, max_queue=1) as client:
                client.transport.pause_reading()
                await client.send(_run_task("unreading", recording))
                while True:
                    for frame in recording.frames:
                        await client.send(frame)
                        await asyncio.sleep(0.1)

    async with _all(unreading for _ in range(6)):
        yield


@asynccontextmanager
async def slow_senders(url: str, recording: Recording) -> AsyncIterator[None]:
    """30 tasks with 20 ms of audio every 5 s, opened one after another."""

    async def slow(number: int) -> None:
        await asyncio.sleep(0.2 * number)
        with contextlib.suppress(Exception):
            async with _connected(url) as client:
                await client.send(_run_task("slow", recording))
                while True:
                    await client.send(recording.frames[0][:640])
                    await asyncio.sleep(5)

    async with _all(lambda number=number: slow(number) for number in range(30)):
        yield


@asynccontextmanager
async def vanished(url: str, recording: Recording) -> AsyncIterator[None]:
    """30 clients whose machine is gone in mid-task: no FIN, no RST, no answer."""
    for number in range(30):
        client = await connect(url, compression=None, ping_interval=None)
        await client.send(_run_task(f"gone-{number}", recording))
        for frame in recording.frames[:8]:
            await client.send(frame)
        await asyncio.sleep(0.05)
        _forget(client.transport)
    yield


@asynccontextmanager
async def reconnect_storm(url: str, recording: Recording) -> AsyncIterator[None]:
    """50 clients a second that connect, open a task and disconnect."""

    async def storm() -> None:
        rng = random.Random(1)
        while True:
            with contextlib.suppress(Exception):
                client = await connect(url, compression=None, ping_interval=None)
                await client.send(_run_task("storm", recording))
                await client.send(recording.frames[5])
                if rng.random() < 0.5:
                    client.transport.abort()
                else:
                    await client.close()
            await asyncio.sleep(0.1)

    async with _all(storm for _ in range(5)):
        yield


@asynccontextmanager
async def nonsense(url: str, recording: Recording) -> AsyncIterator[None]:
    """20 clients that send invalid messages repeatedly."""

    async def send_nonsense(seed: int) -> None:
        rng = random.Random(seed)
        while True:
            with contextlib.suppress(Exception):
                async with _connected(url) as client:
                    await client.send(_run_task("send_nonsense", recording))
                    for _ in range(rng.randrange(10)):
                        await client.send(rng.randbytes(rng.randrange(20_000)))
                    await client.send(rng.choice(["{", "[]", '{"header":{}}', "x" * 100_000]))
                    await client.recv()
            await asyncio.sleep(0.1)

    async with _all(lambda seed=seed: send_nonsense(seed) for seed in range(20)):
        yield


@asynccontextmanager
async def uploads(url: str, recording: Recording) -> AsyncIterator[None]:
    """Two clients that send files as fast as the server takes them."""

    async def upload() -> None:
        while True:
            await run_client(Target(url, pace=0, timeout_s=600), recording)

    async with _all(upload for _ in range(2)):
        yield


NONE = "none"
MISBEHAVIOURS: dict[str, Callable[[str, Recording], Any]] = {
    NONE: no_misbehaviour,
    "idle_connections": idle_connections,
    "no_handshakes": no_handshakes,
    "slow_readers": slow_readers,
    "slow_senders": slow_senders,
    "vanished": vanished,
    "reconnect_storm": reconnect_storm,
    "nonsense": nonsense,
    "uploads": uploads,
}


def _run_task(task_id: str, recording: Recording) -> str:
    return run_task(task_id, DEFAULT_MODEL, Target("").task_parameters(recording))


def _connected(url: str, **options: Any) -> connect:
    return connect(url, compression=None, ping_interval=None, close_timeout=0.5, **options)


async def _tcp(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


def _forget(transport: Any) -> None:
    """Close a socket without a packet to its peer, as a machine without power does."""
    connection: socket.socket = transport.get_extra_info("socket")
    if connection.fileno() < 0:  # the server has closed it already
        return
    copy = socket.socket(fileno=socket.dup(connection.fileno()))
    try:
        copy.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError:  # needs CAP_NET_ADMIN: else it stays open and silent
        transport.pause_reading()
        return
    copy.close()
    transport.abort()


@asynccontextmanager
async def _all(workers: Any) -> AsyncIterator[None]:
    tasks = {asyncio.create_task(worker()) for worker in workers}
    try:
        yield
    finally:
        while tasks:  # again: until Python 3.12 `wait_for` may swallow a cancellation
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=1)


# Beside misbehaviour ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beside:
    """The figures of the well-behaved clients and of the server."""

    figures: Figures
    texts: frozenset[tuple[str, tuple[str, ...]]]
    rss_mb: float
    most_rss_mb: float
    left: dict[str, float]
    """Connections, tasks and slots still open afterwards."""


async def beside(
    url: str, recordings: tuple[Recording, ...], behaviour: Callable[..., Any], seconds: float
) -> Beside:
    """Run well-behaved clients beside misbehaving ones."""
    clock = asyncio.get_running_loop().time
    records: list[TaskRecord] = []
    most = 0.0
    async with behaviour(url, recordings[-1]):
        until = clock() + seconds
        began = clock()

        async def client(number: int) -> None:
            await asyncio.sleep(0.37 * number)
            turn = number
            while clock() + recordings[turn % len(recordings)].duration_s < until:
                records.append(await run_client(Target(url), recordings[turn % len(recordings)]))
                turn += 1
                if records[-1].error is not None:
                    await asyncio.sleep(RETRY_PAUSE_S)

        clients = [asyncio.create_task(client(n)) for n in range(CLIENTS)]
        while not all(one.done() for one in clients):
            await asyncio.sleep(0.5)
            most = max(most, await _rss_mb(url))
        for one in clients:
            one.result()
    await asyncio.sleep(CALM_S)
    left = await _left(url)
    for _ in range(60):
        if not any(left.values()):
            break
        await asyncio.sleep(0.5)
        left = await _left(url)
    return Beside(
        figures(records, began, clock()),
        frozenset((one.recording.name, one.texts) for one in records if one.finished),
        await _rss_mb(url),
        most,
        {name: count for name, count in left.items() if count},
    )


async def _left(url: str) -> dict[str, float]:
    now = await server_metrics.scrape(url)
    return {
        name: now.get(name, 0.0)
        for name in ("asr_open_connections", "asr_open_tasks", "asr_used_slots")
    }


async def _rss_mb(url: str) -> float:
    sample = await server_metrics.sample(url)
    return sample.rss_bytes / 2**20 if sample else 0.0


def compare(name: str, baseline: Beside, now: Beside) -> list[str]:
    """Return the effects of a misbehaviour on the well-behaved clients and the server."""
    found = [f"{count} x {error}" for error, count in now.figures.failed.items()]
    if now.figures.refused:
        found.append(f"{now.figures.refused} refused")
    for kind in ("first_text", "final", "tail"):
        before, after = getattr(baseline.figures, kind).p95, getattr(now.figures, kind).p95
        if before is None or after is None:
            found.append(f"no {kind.replace('_', ' ')} came")
        elif after > before + WORSE_S:
            found.append(
                f"{kind.replace('_', ' ')} p95 {1000 * before:.0f} -> {1000 * after:.0f} ms"
            )
    if different := {text for _, text in now.texts - baseline.texts}:
        found.append(f"{len(different)} other texts")
    if now.most_rss_mb > baseline.most_rss_mb + RSS_MB:
        found.append(f"memory {baseline.most_rss_mb:.0f} -> {now.most_rss_mb:.0f} MB")
    found += [f"{count:.0f} {what} left" for what, count in now.left.items()]
    return [f"{name}: {one}" for one in found]


async def misbehave(
    url: str, recordings: tuple[Recording, ...], names: list[str], seconds: float
) -> dict[str, Any]:
    """Run each kind beside well-behaved clients, compared with none."""
    table = Table("beside", "first text", "final", "tail", "memory MB", "effect", box=None)
    baseline: Beside | None = None
    results: dict[str, Any] = {}
    await LoadGenerator(Target(url), recordings, WARM_UP_STREAMS, WARM_UP_S).run(GOALS)
    for name in [NONE, *(one for one in names if one != NONE)]:
        now = await beside(url, recordings, MISBEHAVIOURS[name], seconds)
        baseline = baseline or now
        problems = compare(name, baseline, now)
        table.add_row(
            name,
            latency(now.figures.first_text, 9),
            latency(now.figures.final, 9),
            latency(now.figures.tail, 9),
            f"{now.most_rss_mb:.0f}, after it {now.rss_mb:.0f}",
            "; ".join(problems) or "none",
        )
        console.print(f"{name}: {'; '.join(problems) or 'no effect'}")
        results[name] = {
            "first_text_p95_s": now.figures.first_text.p95,
            "final_p95_s": now.figures.final.p95,
            "tail_p95_s": now.figures.tail.p95,
            "tasks": now.figures.finished,
            "most_rss_mb": now.most_rss_mb,
            "rss_mb": now.rss_mb,
            "problems": problems,
        }
    console.print(table)
    return results


def _show_levels(levels: dict[str, Level]) -> None:
    table = Table("", "first text", "final", "tail", "tasks", "refused", "failed", box=None)
    for name, level in levels.items():
        seen = level.clients
        table.add_row(
            name,
            latency(seen.first_text, GOALS.first_text_s),
            latency(seen.final, GOALS.final_s),
            latency(seen.tail, GOALS.tail_s),
            str(seen.finished),
            str(seen.refused),
            str(seen.failed or 0),
        )
    console.print(table)


def main(
    folder: Annotated[Path, typer.Argument(help="Directory of logs and figures.")],
    only: Annotated[
        str, typer.Option(help=f"`overload`, or of: {', '.join(MISBEHAVIOURS)}; by commas.")
    ] = "",
    seconds: Annotated[float, typer.Option(help="Of overload.")] = 120,
    holds: Annotated[int, typer.Option(help="Capacity in streams; 0 measures it first.")] = 0,
    beside_s: Annotated[float, typer.Option(help="Of each misbehaviour.")] = 25,
    model: Annotated[str, typer.Option(help="As for `serve`.")] = "demo",
) -> None:
    """Start a server, run the scenarios against it, and report."""
    folder.mkdir(parents=True, exist_ok=True)
    names = only.split(",") if only else ["overload", *MISBEHAVIOURS]
    settings = {
        "ASR_MAX_TASKS": "1024",  # admission by load refuses, not this limit
        "ASR_MAX_CONNECTIONS": "2000",
        "ASR_LOG_LEVEL": "warning",
        "ASR_DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
    }
    misbehaviours = [name for name in names if name != "overload"]
    results: dict[str, Any] = {"machine": describe()}
    console.print(results["machine"])
    recordings = read_recordings([], 2.0, 0.8)

    def at(work: Callable[[str], Awaitable[dict[str, Any]]], log: str, **more: str) -> Any:
        with served(folder / log, "--model", model, **settings, **more) as it:
            done = asyncio.run(work(it.url))  # type: ignore[arg-type]
            status = it.stop()
        if status not in (0, -15):
            done.setdefault("stopped", {"problems": [f"the server ended with {status}"]})
        return done

    if "overload" in names:
        results["overload"] = at(
            lambda url: overload(url, recordings, seconds, holds), "overload.log"
        )
    if misbehaviours:
        results |= at(
            lambda url: misbehave(url, recordings, misbehaviours, beside_s),
            "misbehaviour.log",
            ASR_INPUT_TIMEOUT_S=SLOW_TIMEOUT_S,
            ASR_IDLE_TIMEOUT_S=SLOW_TIMEOUT_S,
        )
    (folder / "chaos.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    problems = [
        problem
        for result in results.values()
        if isinstance(result, dict)
        for problem in result["problems"]
    ]
    for problem in problems:
        console.print(f"[bold red]{problem}[/]")
    raise typer.Exit(1 if problems else 0)


if __name__ == "__main__":
    typer.run(main)
