"""Whether a server stays as it is: hours of clients that connect, pause, leave and disconnect.

    python -m benchmarks.soak run --hours 2 build/soak          at 70 % of what the machine holds
    python -m benchmarks.soak run --accelerated build/day       a day's worth of audio, unpaced
    python -m benchmarks.soak report build/soak                 also of a run that was broken off

Each recording is recognised once by an idle server first. Every later task is compared with that:
not a character may differ. Clients and server must count the same tasks. Memory, step time, open
files and latency are sampled; the report gives their growth, with intervals.
"""

import asyncio
import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from asr_server.load.figures import Goals, figures
from asr_server.load.load_generator import LoadGenerator
from asr_server.load.recordings import Recording
from asr_server.load.search import binary, held
from asr_server.load.task_record import TaskRecord
from benchmarks.environment import describe
from benchmarks.material import material
from benchmarks.served import served
from benchmarks.trend import Trend, trend

DAY_S = 86_400.0
LOAD = 0.7
"""Share of the streams the machine holds."""
ABORTED = 0.06
"""Share of the tasks whose client disconnects without a close frame."""
MOST_STREAMS = 256
"""Upper end of the ramp."""
LONGEST_REST_S = 3.0
"""Pause between two tasks of a real-time client."""
SAMPLE_S = {True: 5.0, False: 20.0}
"""Mean time between two samples, accelerated or not. Samples at even times would alias with the
server, which returns memory once a minute."""
BULK_STREAMS = 16
"""Files sent at once when accelerated."""
BULK_TIMEOUT_S = 600.0
"""Time that such a file may take after its end was sent."""
STEADY = ("pcm", "wav")
"""Formats with a constant byte rate. With others the audio in a message, and so the latency of its
result, is unknown."""
WARM_UP = 0.2
"""Share of the run before figures are taken for its trend: caches fill, the allocator settles."""
RSS_GROWTH_A_DAY = 0.01
LOG = "soak.jsonl"

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(width=120, highlight=False)


# Running -----------------------------------------------------------------------------------------


class Soak:
    """One run: the clients, their results, and the log."""

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
        """Tasks that ended since the last sample."""
        self._sound_s = 0.0
        self._clock = time.monotonic

    async def learn(self) -> None:
        """Recognise each recording on an idle server, as the reference."""
        at_once = dataclasses.replace(self._target, pace=0, timeout_s=BULK_TIMEOUT_S)
        for recording in self._recordings:
            record = await run_client(at_once, recording)
            if not record.finished:
                raise RuntimeError(f"{recording.name}: {record.error}")
            self._references[recording.name] = record.texts
        self.note(
            "references",
            recordings=len(self._references),
            sentences=sum(map(len, self._references.values())),
            server=self._task_counts(await server_metrics.scrape(self._target.url)),
        )

    async def run(self, streams: int, seconds: float | None, sound_s: float | None) -> None:
        """Run the clients for some time, or until so much audio was sent."""
        self._over = asyncio.Event()
        clients = [asyncio.create_task(self._client(n), name=f"{n}") for n in range(streams)]
        sampling = asyncio.create_task(self._sample_for_ever(), name="sample")
        began = self._clock()
        try:
            while (seconds is None or self._clock() - began < seconds) and (
                sound_s is None or self._sound_s < sound_s
            ):
                await asyncio.sleep(0.5)
                for task in (*clients, sampling):
                    if task.done():
                        task.result()
            self._over.set()
            sampling.cancel()  # from here on tasks only end
            await asyncio.gather(*clients)
        finally:
            for task in (*clients, sampling):
                task.cancel()
            await asyncio.wait([*clients, sampling])

    async def settle(self) -> None:
        """Log what is left open once all clients are gone."""
        for _ in range(100):
            await asyncio.sleep(0.2)
            now = await server_metrics.scrape(self._target.url)
            if not now.get("asr_open_tasks") and not now.get("asr_used_slots"):
                break
        await self._sample()
        self.note(
            "end",
            server=self._task_counts(now),
            open_tasks=now.get("asr_open_tasks"),
            open_connections=now.get("asr_open_connections"),
            used_slots=now.get("asr_used_slots"),
        )

    @staticmethod
    def _task_counts(samples: dict[str, float]) -> dict[str, float]:
        """Return the number of tasks by outcome, as the server counts them."""
        return {
            outcome: samples.get(f"asr_tasks_total{{{outcome}}}", 0.0)
            for outcome in ("finished", "failed", "vanished")
        }

    def note(self, kind: str, **what: Any) -> None:
        """Write a line to the log at once."""
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"kind": kind, "at": time.time(), **what}) + "\n")

    async def _client(self, number: int) -> None:
        rng = random.Random(number)
        if not self._accelerated:
            await asyncio.sleep(rng.uniform(0, 0.125 * len(self._recordings)))
        while not self._over.is_set():
            recording = rng.choice(self._recordings)
            aborted = rng.random() < ABORTED and len(recording.frames) > 2
            cut = rng.randrange(1, len(recording.frames)) if aborted else None
            record = await run_client(self._target, recording, abort_after=cut)
            self._count(record, cut)
            if not self._accelerated:
                await asyncio.sleep(rng.uniform(0, LONGEST_REST_S))
            elif record.error:
                await asyncio.sleep(0.5)

    def _count(self, record: TaskRecord, cut: int | None) -> None:
        self._counts["started"] += 1
        self._sound_s += record.sent / len(record.recording.frames) * record.recording.duration_s
        if record.refused:
            self._counts["refused"] += 1
        elif record.error is not None:
            self._counts["failed"] += 1
            self.note("failed", recording=record.recording.name, error=record.error)
        elif cut is not None:
            self._counts["vanished"] += 1
        elif record.finished:
            self._counts["finished"] += 1
            self._records.append(record)
            reference = self._references[record.recording.name]
            if record.texts != reference:
                self._counts["different"] += 1
                self.note(
                    "different",
                    recording=record.recording.name,
                    hypothesis=record.texts,
                    reference=reference,
                )

    async def _sample_for_ever(self) -> None:
        rng = random.Random(0)
        while True:
            await asyncio.sleep(SAMPLE_S[self._accelerated] * rng.uniform(0.5, 1.5))
            await self._sample()

    async def _sample(self) -> None:
        sample = await server_metrics.sample(self._target.url)
        records, self._records = self._records, []
        measured = figures(steady(records), 0.0, float("inf"))
        server = {} if sample is None else dataclasses.asdict(sample)
        paced = not self._accelerated
        self.note(
            "sample",
            sound_s=self._sound_s,
            counts=dict(self._counts),
            server=server,
            first_text_s=measured.first_text.p95 if paced else None,
            final_s=measured.final.p95 if paced else None,
            tail_s=measured.tail.p95 if paced else None,
            late_s=measured.late.p99 if paced else None,
        )


def steady(records: Sequence[TaskRecord]) -> list[TaskRecord]:
    """Return the records in formats with a constant byte rate."""
    return [record for record in records if record.recording.format in STEADY]


async def streams_held(target: Target, recordings: Sequence[Recording]) -> int:
    """Return the streams that this machine holds with these recordings, by a short ramp."""
    tried: dict[int, bool] = {}
    while (streams := binary(tried, 8, MOST_STREAMS)) is not None:
        generator = LoadGenerator(target, recordings, streams, 10.0)
        await generator.run(Goals())
        measured = figures(
            steady(generator.records), generator.measured_from, generator.measured_until
        )
        measured = dataclasses.replace(measured, refused=generator.figures().refused)
        broken = measured.broken(Goals())
        tried[streams] = not broken and not measured.unreliable(Goals())
        console.print(f"{streams} streams: {', '.join(broken) or 'held'}")
        await asyncio.sleep(2)
    return held(tried)


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Where the log and the plot go; made if need be.")],
    hours: Annotated[float, typer.Option(help="How long, in real time.")] = 2.0,
    accelerated: Annotated[
        bool, typer.Option(help="As fast as the server takes the audio, a day's worth of it.")
    ] = False,
    sound_s: Annotated[float, typer.Option(help="How much, if accelerated.")] = DAY_S,
    streams: Annotated[
        int, typer.Option(help="Clients; 0: 70 % of what a ramp finds, accelerated 16.")
    ] = 0,
    model: Annotated[str, typer.Option(help="As for `serve`.")] = "demo",
    dtype: Annotated[str, typer.Option(help="As for `serve`.")] = "auto",
    recordings: Annotated[int, typer.Option(help="Different recordings.")] = 60,
) -> None:
    """Start a server, run clients against it, stop it, report."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "ASR_LOG_LEVEL": "warning",
        "ASR_DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "ASR_MAX_TASKS": str(MOST_STREAMS),  # the machine is the limit, not the setting
    }
    if accelerated:
        settings["ASR_MAX_DELAY_MS"] = "0"  # throughput matters, latency does not
        settings["ASR_INPUT_TIMEOUT_S"] = "86400"  # so that the run may be stopped and continued
    (folder / LOG).unlink(missing_ok=True)
    with served(folder / "server.log", "--model", model, "--dtype", dtype, **settings) as at:

        async def whole() -> None:
            target = Target(at.url)
            if accelerated:
                target = Target(at.url, pace=0, timeout_s=BULK_TIMEOUT_S)
            audio = material(recordings)
            clients = streams or (
                BULK_STREAMS
                if accelerated
                else max(1, round(LOAD * await streams_held(target, audio)))
            )
            soak = Soak(target, audio, folder / LOG, accelerated)
            soak.note(
                "begin",
                accelerated=accelerated,
                streams=clients,
                model=model,
                dtype=dtype,
                machine=describe(),
            )
            await soak.learn()
            await soak.run(
                clients,
                None if accelerated else 3600 * hours,
                sound_s if accelerated else None,
            )
            await soak.settle()
            soak.note("stopped", status=at.stop())

        asyncio.run(whole())
    raise typer.Exit(0 if report_on(folder) else 1)


# Reporting ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Series:
    """One figure over the run."""

    name: str
    unit: str
    x: list[float]
    y: list[float]
    trend: Trend | None


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Of a run, finished or not.")]) -> None:
    """Print and plot a log."""
    raise typer.Exit(0 if report_on(folder) else 1)


def report_on(folder: Path) -> bool:
    """Print and plot; return whether nothing was lost or differs, and memory did not grow."""
    lines = [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]
    begin = next(line for line in lines if line["kind"] == "begin")
    samples = [line for line in lines if line["kind"] == "sample" and line["server"]]
    last = samples[-1]
    accelerated, counts = begin["accelerated"], last["counts"]
    took_s = last["at"] - samples[0]["at"]
    console.print(
        f"{begin['streams']} {'bulk streams' if accelerated else 'streams'}, "
        f"{took_s / 3600:.2f} h, {last['sound_s'] / 3600:.1f} h of audio; "
        f"{begin['model']}, {begin['dtype']}; {begin['machine']}"
    )
    console.print(", ".join(f"{count} {name}" for name, count in counts.items()))
    series = list(_series(samples, accelerated))
    _print_trends(series, accelerated)
    _draw(series, folder / "soak.png", accelerated)
    problems = _problems(lines, counts, series)
    for problem in problems:
        console.print(f"[bold red]{problem}[/]")
    if not problems:
        console.print("[bold green]nothing lost, no text different, memory flat[/]")
    return not problems


def _series(samples: list[dict[str, Any]], accelerated: bool) -> "list[Series]":
    """Return the series over hours, or over hours of audio if accelerated."""
    x = [
        s["sound_s"] / 3600 if accelerated else (s["at"] - samples[0]["at"]) / 3600 for s in samples
    ]
    steps = [0.0]
    for before, after in zip(samples, samples[1:], strict=False):
        a, b = before["server"], after["server"]
        steps.append(1000 * (b["step_s"] - a["step_s"]) / max(1.0, b["steps"] - a["steps"]))
    columns: list[tuple[str, str, list[float | None]]] = [
        ("memory", "MB", [s["server"]["rss_bytes"] / 2**20 for s in samples]),
        ("step", "ms", [None, *steps[1:]]),
        ("open files", "", [s["server"]["open_files"] for s in samples]),
    ]
    for name in ("first_text_s", "final_s", "tail_s"):
        ms = [None if s[name] is None else 1000 * s[name] for s in samples]
        columns.append((f"{name[:-2].replace('_', ' ')} p95", "ms", ms))
    found = []
    # The last sample is of an idle server.
    for name, unit, values in columns:
        pairs = [(a, b) for a, b in zip(x[:-1], values[:-1], strict=True) if b is not None]
        if not pairs:
            continue
        late = [(a, b) for a, b in pairs if a >= WARM_UP * x[-1]]
        line = trend([a for a, _ in late], [b for _, b in late])
        found.append(Series(name, unit, [a for a, _ in pairs], [b for _, b in pairs], line))
    return found


def _print_trends(series: list[Series], accelerated: bool) -> None:
    day = "a day's audio" if accelerated else "24 h"
    table = Table("", "mean", f"growth in {day}", "95 % interval", "blocks", box=None)
    for one in series:
        if one.trend is None:
            table.add_row(one.name, "too few samples")
            continue
        share, low, high = one.trend.share(24)
        table.add_row(
            one.name,
            f"{one.trend.mean:.1f} {one.unit}",
            f"{share:+.2%}",
            f"{low:+.2%} to {high:+.2%}",
            str(one.trend.blocks),
        )
    console.print(table)


def _problems(
    lines: list[dict[str, Any]], counts: dict[str, int], series: list[Series]
) -> list[str]:
    found = []
    ended = sum(counts.get(name, 0) for name in ("finished", "refused", "failed", "vanished"))
    if ended != counts["started"]:
        found.append(f"{counts['started'] - ended} tasks are not accounted for")
    for name in ("failed", "different"):
        if counts.get(name):
            found.append(f"{counts[name]} {name}: see `{name}` in {LOG}")
    end = next((line for line in lines if line["kind"] == "end"), None)
    if end is None:
        found.append("the run was broken off")
    else:
        left = {k: end[k] for k in ("open_tasks", "open_connections", "used_slots") if end[k]}
        if left:
            found.append(f"left behind: {left}")
        before = next(line["server"] for line in lines if line["kind"] == "references")
        for name in ("finished", "vanished"):
            server, count = end["server"][name] - before[name], counts.get(name, 0)
            if server != count:
                found.append(f"the server counts {server:.0f} {name}, not {count}")
    memory = series[0].trend
    if memory is None:
        found.append("too short for a trend of memory")
    else:
        share, low, high = memory.share(24)
        if low > RSS_GROWTH_A_DAY:
            found.append(f"memory grows by {share:.1%} in a day")
        elif high > RSS_GROWTH_A_DAY:
            found.append(
                f"memory: growth between {low:+.1%} and {high:+.1%} in a day cannot be "
                f"distinguished from {RSS_GROWTH_A_DAY:.0%}; run longer"
            )
    return found


def _draw(series: list[Series], path: Path, accelerated: bool) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.9 * len(series)), layout="constrained")
    axes = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
    for one, ax in zip(series, axes, strict=True):
        ax.plot(one.x, one.y, ".", ms=3, color="#0072b2")
        if one.trend is not None:
            ends = [WARM_UP * one.x[-1], one.x[-1]]
            line = [one.trend.intercept + one.trend.slope * x for x in ends]
            ax.plot(ends, line, color="#d55e00")
        ax.set_ylabel(f"{one.name}{', ' + one.unit if one.unit else ''}")
        ax.set_ylim(0, 1.25 * max(one.y))
        ax.grid(alpha=0.25)
    axes[-1].set_xlabel("hours of audio" if accelerated else "hours")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    app()
