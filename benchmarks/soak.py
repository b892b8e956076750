"""Run mixed streams against a server for hours and check that nothing is lost or grows.

    python -m benchmarks.soak run --hours 2 build/soak          at 70 % of the sustained streams
    python -m benchmarks.soak run --accelerated build/day       a day's audio, faster than real time
    python -m benchmarks.soak report build/soak                 also of an interrupted run

Each recording is recognised once while the server is idle; every later text of the recording must
equal that reference. Clients and server must count the same tasks. Memory, step time, open files
and latency are sampled; the report gives their trends with confidence intervals.
"""

import asyncio
import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from asr_server.load.figures import figures
from asr_server.load.load_generator import LoadGenerator
from asr_server.load.recordings import Recording
from asr_server.load.search import binary, held
from asr_server.load.task_record import TaskRecord
from benchmarks.environment import describe
from benchmarks.goals import GOALS
from benchmarks.mixed_recordings import mixed_recordings
from benchmarks.server_process import server_process
from benchmarks.soak_report import LOG, report_on

DAY_S = 86_400.0
LOAD = 0.7
"""Share of the sustained streams."""
VANISHING = 0.06
"""Share of the tasks whose connection is cut without a closing handshake."""
MAX_STREAMS = 256
"""Most streams that the ramp tries."""
MAX_REST_S = 3.0
"""Longest pause between two tasks of a real-time stream."""
SAMPLE_S = {True: 5.0, False: 20.0}
"""Mean interval of samples, accelerated or not. The intervals vary: even ones would alias with the
server's heap trim, once a minute."""
BULK_STREAMS = 16
"""Concurrent files of an accelerated run."""
PATIENCE_S = 600.0
"""How long an accelerated task may take after finish-task."""
TIMED_FORMATS = ("pcm", "wav")
"""Formats in which equal numbers of bytes have equal durations. A message of another format has an
unknown position in the audio, so the latency of its answer is unknown."""

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(width=120, highlight=False)


class Soak:
    """Run streams, compare their texts, and write the log."""

    def __init__(
        self, target: Target, recordings: list[Recording], log: Path, accelerated: bool
    ) -> None:
        self._target = target
        self._recordings = recordings
        self._accelerated = accelerated
        self._log = log
        self._references: dict[str, tuple[str, ...]] = {}
        self._counts: Counter[str] = Counter()
        self._records: list[TaskRecord] = []
        """Records of tasks that finished since the last sample."""
        self._audio_s = 0.0
        self._clock = time.monotonic

    async def make_references(self) -> None:
        """Recognise each recording once while the server is idle."""
        unpaced = dataclasses.replace(self._target, pace=0, timeout_s=PATIENCE_S)
        for recording in self._recordings:
            record = await run_client(unpaced, recording)
            if not record.finished:
                raise RuntimeError(f"{recording.name}: {record.error}")
            self._references[recording.name] = record.texts
        self.note(
            "references",
            recordings=len(self._references),
            sentences=sum(map(len, self._references.values())),
            server=self._task_counts(await server_metrics.scrape(self._target.url)),
        )

    async def run(self, streams: int, seconds: float | None, audio_s: float | None) -> None:
        """Run streams for a time, or until a length of audio has been sent."""
        self._over = asyncio.Event()
        clients = [asyncio.create_task(self._stream(n), name=f"stream {n}") for n in range(streams)]
        sampling = asyncio.create_task(self._sample_repeatedly(), name="sample")
        began = self._clock()
        try:
            while (seconds is None or self._clock() - began < seconds) and (
                audio_s is None or self._audio_s < audio_s
            ):
                await asyncio.sleep(0.5)
                for task in (*clients, sampling):
                    if task.done():
                        task.result()
            self._over.set()
            sampling.cancel()  # the load falls from here on
            await asyncio.gather(*clients)
        finally:
            for task in (*clients, sampling):
                task.cancel()
            await asyncio.wait([*clients, sampling])

    async def settle(self) -> None:
        """Wait until no task is open, and note what the server counts."""
        for _ in range(100):
            await asyncio.sleep(0.2)
            samples = await server_metrics.scrape(self._target.url)
            if not samples.get("asr_open_tasks") and not samples.get("asr_used_slots"):
                break
        await self._sample()
        self.note(
            "end",
            server=self._task_counts(samples),
            open_tasks=samples.get("asr_open_tasks"),
            open_connections=samples.get("asr_open_connections"),
            used_slots=samples.get("asr_used_slots"),
        )

    @staticmethod
    def _task_counts(samples: dict[str, float]) -> dict[str, float]:
        """Return the server's number of tasks by outcome."""
        return {
            outcome: samples.get(f"asr_tasks_total{{{outcome}}}", 0.0)
            for outcome in ("finished", "failed", "disconnected")
        }

    def note(self, kind: str, **values: Any) -> None:
        """Append a line to the log, on disk at once."""
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"kind": kind, "at": time.time(), **values}) + "\n")

    async def _stream(self, number: int) -> None:
        """Run one task after another."""
        rng = random.Random(number)
        if not self._accelerated:
            await asyncio.sleep(rng.uniform(0, 0.125 * len(self._recordings)))
        while not self._over.is_set():
            recording = rng.choice(self._recordings)
            vanishes = rng.random() < VANISHING and len(recording.frames) > 2
            cut = rng.randrange(1, len(recording.frames)) if vanishes else None
            record = await run_client(self._target, recording, abort_after=cut)
            self._count(record, cut)
            if not self._accelerated:
                await asyncio.sleep(rng.uniform(0, MAX_REST_S))
            elif record.error:
                await asyncio.sleep(0.5)

    def _count(self, record: TaskRecord, cut: int | None) -> None:
        """Count a task by its outcome and compare its text."""
        self._counts["started"] += 1
        self._audio_s += record.sent / len(record.recording.frames) * record.recording.duration_s
        if record.refused:
            self._counts["refused"] += 1
        elif record.error is not None:
            self._counts["failed"] += 1
            self.note("failed", recording=record.recording.name, error=record.error)
        elif cut is not None:
            self._counts["disconnected"] += 1
        elif record.finished:
            self._counts["finished"] += 1
            self._records.append(record)
            reference = self._references[record.recording.name]
            if record.texts != reference:
                self._counts["different"] += 1
                self.note(
                    "different",
                    recording=record.recording.name,
                    texts=record.texts,
                    reference=reference,
                )

    async def _sample_repeatedly(self) -> None:
        rng = random.Random(0)
        while True:
            await asyncio.sleep(SAMPLE_S[self._accelerated] * rng.uniform(0.5, 1.5))
            await self._sample()

    async def _sample(self) -> None:
        reading = await server_metrics.sample(self._target.url)
        records, self._records = self._records, []
        clients = figures(timed(records), 0.0, float("inf"))
        real_time = not self._accelerated
        self.note(
            "sample",
            audio_s=self._audio_s,
            counts=dict(self._counts),
            server=reading or {},
            first_text_s=clients.first_text.p95 if real_time else None,
            final_s=clients.final.p95 if real_time else None,
            tail_s=clients.tail.p95 if real_time else None,
            late_s=clients.late.p99 if real_time else None,
        )


def timed(records: Sequence[TaskRecord]) -> list[TaskRecord]:
    """Return the records whose latencies are known."""
    return [record for record in records if record.recording.format in TIMED_FORMATS]


async def sustained_streams(target: Target, recordings: Sequence[Recording]) -> int:
    """Return how many such streams the server sustains now, by a short ramp."""
    tried: dict[int, bool] = {}
    while (streams := binary(tried, 8, MAX_STREAMS)) is not None:
        generator = LoadGenerator(target, recordings, streams, 10.0)
        await generator.run(GOALS)
        clients = figures(
            timed(generator.records), generator.measured_from, generator.measured_until
        )
        clients = dataclasses.replace(clients, refused=generator.figures().refused)
        broken = clients.broken(GOALS)
        tried[streams] = not broken and not clients.unreliable(GOALS)
        console.print(f"{streams} streams: {', '.join(broken) or 'sustained'}")
        await asyncio.sleep(2)
    return held(tried)


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="For the log and the plot; made if missing.")],
    hours: Annotated[float, typer.Option(help="Length of a real-time run.")] = 2.0,
    accelerated: Annotated[
        bool, typer.Option(help="Send as fast as the server takes the audio.")
    ] = False,
    audio_s: Annotated[float, typer.Option(help="Audio of an accelerated run.")] = DAY_S,
    streams: Annotated[
        int,
        typer.Option(help="Streams; 0: 70 % of what a ramp finds, accelerated 16."),
    ] = 0,
    model: Annotated[str, typer.Option(help="As for `serve`.")] = "demo",
    dtype: Annotated[str, typer.Option(help="As for `serve`.")] = "auto",
    recordings: Annotated[int, typer.Option(help="Different recordings.")] = 60,
) -> None:
    """Start a server, run streams against it, stop it, report."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "ASR_LOG_LEVEL": "warning",
        "ASR_DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "ASR_MAX_TASKS": str(MAX_STREAMS),  # the machine is the limit, not the setting
    }
    if accelerated:
        settings["ASR_MAX_DELAY_MS"] = "0"  # bulk tasks need no latency
        settings["ASR_INPUT_TIMEOUT_S"] = "86400"  # so that the run can be suspended and continued
    machine = describe()
    (folder / LOG).unlink(missing_ok=True)
    arguments = ("--model", model, "--dtype", dtype)
    with server_process(folder / "server.log", *arguments, **settings) as process:

        async def soak() -> None:
            target = Target(process.url)
            if accelerated:
                target = Target(process.url, pace=0, timeout_s=PATIENCE_S)
            mixed = mixed_recordings(recordings)
            number = streams
            if not number and accelerated:
                number = BULK_STREAMS
            elif not number:
                number = max(1, round(LOAD * await sustained_streams(target, mixed)))
            soak = Soak(target, mixed, folder / LOG, accelerated)
            soak.note(
                "begin",
                accelerated=accelerated,
                streams=number,
                model=model,
                dtype=dtype,
                machine=machine,
            )
            await soak.make_references()
            await soak.run(
                number, None if accelerated else 3600 * hours, audio_s if accelerated else None
            )
            await soak.settle()
            soak.note("stopped", status=process.stop())

        asyncio.run(soak())
    raise typer.Exit(0 if report_on(folder) else 1)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Of a run, finished or not.")]) -> None:
    """Print and draw the figures of a log."""
    raise typer.Exit(0 if report_on(folder) else 1)


if __name__ == "__main__":
    app()
