"""Measure what Ray Serve adds to a server: latency, messages a second, memory (deploy/ray).

    python -m benchmarks.ray_serve            three minutes; needs deploy/ray/requirements.txt

The same demo model under plain uvicorn and in a replica, both running; clients take turns between
uvicorn, the replica's own port and Ray's HAProxy, so that load of the machine hits all alike.
"""

import asyncio
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from asr_client import protocol
from asr_client.connection import Task, open_websocket
from asr_server.load.client_run import Target
from asr_server.load.figures import Goals, Percentiles, figures
from asr_server.load.load_generator import LoadGenerator, warm_up
from asr_server.load.recordings import Recording, read_recordings
from asr_server.load.task_record import TaskRecord
from benchmarks.environment import describe
from benchmarks.server_process import server_process
from tests.support import ray_serve
from tests.support.serving import RATE

SILENCE_S = 2.0
"""Silence after each recording."""
ROUNDS = 2
PING_S = 0.05
"""Between two pings, which a server answers at once, beside the streams."""
TASKS = 30
"""Tasks that are opened one after another in a round, each on a connection of its own."""
SENDERS, FRAME_BYTES, FRAMES = 4, 640, 1000
"""Connections that send at once, as fast as they can, frames of 20 ms."""
PARAMETERS = {"format": "pcm", "sample_rate": RATE}
SETTINGS = {"ASR_MODEL": "demo", "ASR_SECOND_PASS": "off", "ASR_MAX_DELAY_MS": "0"}
CAPACITY = 64

console = Console(highlight=False, width=140)


@dataclass
class Way:
    """Hold what was measured on one way to a server."""

    name: str
    url: str
    records: list[TaskRecord] = field(default_factory=list)
    pings_s: list[float] = field(default_factory=list)
    opened_s: list[float] = field(default_factory=list)
    messages_per_s: list[float] = field(default_factory=list)

    async def measure(self, recordings: Sequence[Recording], streams: int, seconds: float) -> None:
        """Run one round."""
        generator = LoadGenerator(Target(self.url), recordings, streams, seconds)
        pinging = asyncio.create_task(self._ping(), name="ping")
        await generator.run(Goals())
        pinging.cancel()
        await asyncio.wait({pinging})
        self.records += generator.records
        for _ in range(TASKS):
            began = time.perf_counter()
            async with await open_websocket(self.url, None, 10, ping_interval_s=None) as socket:
                await Task(socket).start(protocol.DEFAULT_MODEL, PARAMETERS, 10)
                self.opened_s.append(time.perf_counter() - began)
                socket.transport.abort()
        began = time.perf_counter()
        await asyncio.gather(*(self._send() for _ in range(SENDERS)))
        self.messages_per_s.append(SENDERS * FRAMES / (time.perf_counter() - began))

    async def _ping(self) -> None:
        """Note how long a ping and its pong take, until cancelled."""
        async with await open_websocket(self.url, None, 10, ping_interval_s=None) as socket:
            while True:
                self.pings_s.append(await (await socket.ping()))
                await asyncio.sleep(PING_S)

    async def _send(self) -> None:
        """Send a task's frames and wait for its end."""
        async with await open_websocket(self.url, None, 10, ping_interval_s=None) as socket:
            task = Task(socket)
            await task.start(protocol.DEFAULT_MODEL, PARAMETERS, 10)
            for _ in range(FRAMES):
                await task.send(bytes(FRAME_BYTES))
            await task.finish()
            async for _ in task.results():
                pass

    @property
    def first_text(self) -> Percentiles:
        """Return the latencies of the first text."""
        return figures(self.records, -math.inf, math.inf).first_text

    def row(self, plain: "Way") -> str:
        """Return the row of the table in benchmarks/whole_server.md."""
        text, base = self.first_text, plain.first_text
        assert text.p50
        assert text.p95
        assert base.p95
        cells = (
            self.name,
            f"{1000 * text.p50:.0f} / {1000 * text.p95:.0f}",
            "" if self is plain else f"{1000 * (text.p95 - base.p95):+.0f}",
            middle_and_tail_ms(self.pings_s),
            middle_and_tail_ms(self.opened_s),
            f"{sum(self.messages_per_s) / len(self.messages_per_s):,.0f}".replace(",", " "),
        )
        return f"| {' | '.join(cells)} |"


def middle_and_tail_ms(seconds: Sequence[float]) -> str:
    """Return p50 and p95."""
    return f"{1000 * median(seconds):.1f} / {1000 * quantiles(seconds, n=20)[-1]:.1f}"


def resident_mb(cluster: ray_serve.Cluster) -> tuple[float, float]:
    """Return the memory of the replicas, and of all other processes of the cluster."""
    pids = cluster.processes()
    pages = {pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids}
    replicas = sum(pages.get(pid, 0) for pid in cluster.replicas.values())
    megabytes = os.sysconf("SC_PAGE_SIZE") / 2**20
    return replicas * megabytes, (sum(pages.values()) - replicas) * megabytes


async def until_proxied(cluster: ray_serve.Cluster) -> None:
    """Return once HAProxy has the replica."""
    while not cluster.replicas or not await cluster.proxied():
        if cluster.process.poll() is not None:
            raise RuntimeError("".join(cluster.lines[-20:]))
        await asyncio.sleep(0.2)  # noqa: ASYNC110


async def run(ways: Sequence[Way], streams: int, seconds: float) -> None:
    """Measure all ways in turns."""
    recordings = read_recordings([], SILENCE_S, SILENCE_S / 2)
    for way in ways:
        await warm_up(Target(way.url), recordings)
    for number in range(ROUNDS):
        for way in [*ways[number:], *ways[:number]]:
            await way.measure(recordings, streams, seconds)


def main(
    streams: Annotated[int, typer.Option(help="Real-time streams.")] = 6,
    seconds: Annotated[float, typer.Option(help="Of streams, for each way and round.")] = 12,
) -> None:
    """Measure and print the table."""
    if not ray_serve.is_here():
        raise SystemExit("Ray is not here: pip install -r deploy/ray/requirements.txt")
    arguments = {
        "capacity": CAPACITY,
        "min_replicas": 1,
        "max_replicas": 1,
        "num_cpus": 1,
        "open": True,
        "settings": SETTINGS,
    }
    limits = {"ASR_CAPACITY": str(CAPACITY), "ASR_MAX_TASKS": str(CAPACITY), "ASR_THREADS": "1"}
    with (
        TemporaryDirectory() as folder,
        server_process(Path(folder) / "server.log", **SETTINGS, **limits) as server,
        ray_serve.cluster(arguments) as cluster,
    ):
        asyncio.run(until_proxied(cluster))
        [port] = cluster.replicas
        ways = [
            Way("plain uvicorn", server.url),
            Way("replica, without HAProxy", f"ws://127.0.0.1:{port}{protocol.PATH}"),
            Way("Ray Serve with HAProxy", cluster.url),
        ]
        asyncio.run(run(ways, streams, seconds))
        replica_mb, others_mb = resident_mb(cluster)
    console.print(f"{describe()}; {streams} streams, {ROUNDS} rounds of {seconds:g} s")
    console.print("p50 / p95 in ms")
    console.print("| way | first text | added, p95 | ping | open a task | messages/s |")
    console.print("|---|---|---|---|---|---|")
    for way in ways:
        console.print(way.row(ways[0]))
    console.print(f"resident: replica {replica_mb:.0f} MB, Ray's own processes {others_mb:.0f} MB")


if __name__ == "__main__":
    typer.run(main)
