"""Whether a server stays as it is: hours of people who come, speak, pause, leave and vanish.

    python -m benchmarks.soak run --hours 2 build/soak          at 70 % of what the machine holds
    python -m benchmarks.soak run --accelerated build/day       a day's worth of sound, unpaced
    python -m benchmarks.soak report build/soak                 also of a run that was broken off

Each recording is said once to a quiet server first. From then on every task is compared with that:
not a character may differ. Every task is accounted for, by the clients and by the server. Memory,
step time, open files and latency are sampled; the report says how they grow, with intervals.
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

from asr_server.load import server
from asr_server.load.account import Account
from asr_server.load.crowd import Crowd
from asr_server.load.figures import Goals, figures
from asr_server.load.recordings import Recording
from asr_server.load.search import binary, held
from asr_server.load.speaker import Target, speak
from benchmarks.environment import describe
from benchmarks.material import material
from benchmarks.served import served
from benchmarks.trend import Trend, trend

DAY_S = 86_400.0
LOAD = 0.7
"""Share of the streams the machine holds."""
VANISHING = 0.06
"""Share of the tasks whose client is gone without a word."""
MOST_STREAMS = 256
"""That the ramp tries."""
LONGEST_REST_S = 3.0
"""Between two tasks of a person who speaks in real time."""
SAMPLE_S = {True: 5.0, False: 20.0}
"""Between two samples, accelerated or not, on average. At even times they would keep pace with the
server, which gives memory back once a minute: what its means showed then would be the beat."""
UPLOADS = 16
"""Files sent at once when accelerated."""
PATIENCE_S = 600.0
"""How long such a file may take after its end was sent."""
STEADY = ("pcm", "wav")
"""Formats of which equal numbers of bytes are equal lengths of sound. Of others nobody knows what
was said in a message of the material, and so not how late an answer to it is."""
WARM_UP = 0.2
"""Share of the run before figures are taken for its trend: caches fill, the allocator settles."""
RSS_GROWTH_A_DAY = 0.01
LOG = "soak.jsonl"

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(width=120, highlight=False)


# Running -----------------------------------------------------------------------------------------


class Soak:
    """One run: the people, what they were told, and the log of it."""

    def __init__(
        self, target: Target, recordings: list[Recording], log: Path, accelerated: bool
    ) -> None:
        self._target = target
        self._recordings = recordings
        self._accelerated = accelerated
        self._log = log
        self._references: dict[str, tuple[str, ...]] = {}
        self._counts: Counter[str] = Counter()
        self._accounts: list[Account] = []
        """Of tasks that ended since the last sample."""
        self._sound_s = 0.0
        self._clock = time.monotonic

    async def learn(self) -> None:
        """What a quiet server hears in each recording."""
        at_once = dataclasses.replace(self._target, pace=0, patience_s=PATIENCE_S)
        for recording in self._recordings:
            account = await speak(at_once, recording)
            if not account.finished:
                raise RuntimeError(f"{recording.name}: {account.error}")
            self._references[recording.name] = account.texts
        self.note(
            "references",
            recordings=len(self._references),
            sentences=sum(map(len, self._references.values())),
            server=self._told(await server.scrape(self._target.url)),
        )

    async def run(self, streams: int, seconds: float | None, sound_s: float | None) -> None:
        """Let so many people speak for so long, or until so much has been said."""
        self._over = asyncio.Event()
        people = [asyncio.create_task(self._person(n), name=f"{n}") for n in range(streams)]
        sampling = asyncio.create_task(self._sample_for_ever(), name="sample")
        began = self._clock()
        try:
            while (seconds is None or self._clock() - began < seconds) and (
                sound_s is None or self._sound_s < sound_s
            ):
                await asyncio.sleep(0.5)
                for task in (*people, sampling):
                    if task.done():
                        task.result()
            self._over.set()
            sampling.cancel()  # what follows is a server that empties
            await asyncio.gather(*people)
        finally:
            for task in (*people, sampling):
                task.cancel()
            await asyncio.wait([*people, sampling])

    async def settle(self) -> None:
        """What is left when nobody is there any more."""
        for _ in range(100):
            await asyncio.sleep(0.2)
            now = await server.scrape(self._target.url)
            if not now.get("asr_open_tasks") and not now.get("asr_used_slots"):
                break
        await self._sample()
        self.note(
            "end",
            server=self._told(now),
            open_tasks=now.get("asr_open_tasks"),
            open_connections=now.get("asr_open_connections"),
            used_slots=now.get("asr_used_slots"),
        )

    @staticmethod
    def _told(samples: dict[str, float]) -> dict[str, float]:
        """How many tasks of each kind the server counts."""
        return {
            outcome: samples.get(f"asr_tasks_total{{{outcome}}}", 0.0)
            for outcome in ("finished", "failed", "disconnected")
        }

    def note(self, kind: str, **what: Any) -> None:
        """A line in the log, on the disk at once."""
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"kind": kind, "at": time.time(), **what}) + "\n")

    async def _person(self, number: int) -> None:
        dice = random.Random(number)
        if not self._accelerated:
            await asyncio.sleep(dice.uniform(0, 0.125 * len(self._recordings)))
        while not self._over.is_set():
            recording = dice.choice(self._recordings)
            vanishing = dice.random() < VANISHING and len(recording.frames) > 2
            cut = dice.randrange(1, len(recording.frames)) if vanishing else None
            account = await speak(self._target, recording, vanish_after=cut)
            self._account(account, cut)
            if not self._accelerated:
                await asyncio.sleep(dice.uniform(0, LONGEST_REST_S))
            elif account.error:
                await asyncio.sleep(0.5)

    def _account(self, account: Account, cut: int | None) -> None:
        self._counts["started"] += 1
        self._sound_s += account.sent / len(account.recording.frames) * account.recording.duration_s
        if account.refused:
            self._counts["refused"] += 1
        elif account.error is not None:
            self._counts["failed"] += 1
            self.note("failed", recording=account.recording.name, error=account.error)
        elif cut is not None:
            self._counts["disconnected"] += 1
        elif account.finished:
            self._counts["finished"] += 1
            self._accounts.append(account)
            reference = self._references[account.recording.name]
            if account.texts != reference:
                self._counts["different"] += 1
                self.note(
                    "different",
                    recording=account.recording.name,
                    heard=account.texts,
                    reference=reference,
                )

    async def _sample_for_ever(self) -> None:
        dice = random.Random(0)
        while True:
            await asyncio.sleep(SAMPLE_S[self._accelerated] * dice.uniform(0.5, 1.5))
            await self._sample()

    async def _sample(self) -> None:
        reading = await server.read(self._target.url)
        accounts, self._accounts = self._accounts, []
        seen = figures(steady(accounts), 0.0, float("inf"))
        told = {} if reading is None else dataclasses.asdict(reading)
        paced = not self._accelerated
        self.note(
            "sample",
            sound_s=self._sound_s,
            counts=dict(self._counts),
            server=told,
            first_text_s=seen.first_text.p95 if paced else None,
            final_s=seen.final.p95 if paced else None,
            tail_s=seen.tail.p95 if paced else None,
            late_s=seen.late.p99 if paced else None,
        )


def steady(accounts: Sequence[Account]) -> list[Account]:
    """Those that tell latencies."""
    return [account for account in accounts if account.recording.format in STEADY]


async def streams_held(target: Target, recordings: Sequence[Recording]) -> int:
    """How many who say such recordings this machine holds now, by a short ramp."""
    tried: dict[int, bool] = {}
    while (streams := binary(tried, 8, MOST_STREAMS)) is not None:
        crowd = Crowd(target, recordings, streams, 10.0)
        await crowd.hold(Goals())
        seen = figures(steady(crowd.accounts), crowd.full, crowd.until)
        seen = dataclasses.replace(seen, refused=crowd.figures().refused)
        broken = seen.broken(Goals())
        tried[streams] = not broken and not seen.own_fault(Goals())
        console.print(f"{streams} streams: {', '.join(broken) or 'held'}")
        await asyncio.sleep(2)
    return held(tried)


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Where the log and the plot go; made if need be.")],
    hours: Annotated[float, typer.Option(help="How long, in real time.")] = 2.0,
    accelerated: Annotated[
        bool, typer.Option(help="As quickly as the server takes it, and a day's worth of it.")
    ] = False,
    sound_s: Annotated[float, typer.Option(help="How much, if accelerated.")] = DAY_S,
    streams: Annotated[
        int, typer.Option(help="People; 0: 70 % of what a ramp finds, accelerated 16.")
    ] = 0,
    model: Annotated[str, typer.Option(help="As for `serve`.")] = "demo",
    dtype: Annotated[str, typer.Option(help="As for `serve`.")] = "auto",
    recordings: Annotated[int, typer.Option(help="Different recordings.")] = 60,
) -> None:
    """Start a server, let people speak to it, stop it, report."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "ASR_LOG_LEVEL": "warning",
        "ASR_DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "ASR_MAX_TASKS": str(MOST_STREAMS),  # the machine is the limit, not the setting
    }
    if accelerated:
        settings["ASR_MAX_DELAY_MS"] = "0"  # nobody waits for an answer
        settings["ASR_INPUT_TIMEOUT_S"] = "86400"  # so that the run may be stopped and continued
    (folder / LOG).unlink(missing_ok=True)
    with served(folder / "server.log", "--model", model, "--dtype", dtype, **settings) as at:

        async def whole() -> None:
            target = Target(at.url)
            if accelerated:
                target = Target(at.url, pace=0, patience_s=PATIENCE_S)
            said = material(recordings)
            people = streams or (
                UPLOADS if accelerated else max(1, round(LOAD * await streams_held(target, said)))
            )
            soak = Soak(target, said, folder / LOG, accelerated)
            soak.note(
                "begin",
                accelerated=accelerated,
                streams=people,
                model=model,
                dtype=dtype,
                machine=describe(),
            )
            await soak.learn()
            await soak.run(
                people,
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
    """Say what a log shows and draw it."""
    raise typer.Exit(0 if report_on(folder) else 1)


def report_on(folder: Path) -> bool:
    """Print and draw; whether nothing was lost, nothing differed, and memory did not grow."""
    lines = [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]
    begin = next(line for line in lines if line["kind"] == "begin")
    samples = [line for line in lines if line["kind"] == "sample" and line["server"]]
    last = samples[-1]
    accelerated, counts = begin["accelerated"], last["counts"]
    took_s = last["at"] - samples[0]["at"]
    console.print(
        f"{begin['streams']} {'uploads' if accelerated else 'streams'}, {took_s / 3600:.2f} h, "
        f"{last['sound_s'] / 3600:.1f} h of sound; {begin['model']}, {begin['dtype']}; "
        f"{begin['machine']}"
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
    """Over hours, or over hours of sound where it was sent faster than it was said."""
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
    # The last sample is of an empty server.
    for name, unit, values in columns:
        pairs = [(a, b) for a, b in zip(x[:-1], values[:-1], strict=True) if b is not None]
        if not pairs:
            continue
        late = [(a, b) for a, b in pairs if a >= WARM_UP * x[-1]]
        line = trend([a for a, _ in late], [b for _, b in late])
        found.append(Series(name, unit, [a for a, _ in pairs], [b for _, b in pairs], line))
    return found


def _print_trends(series: list[Series], accelerated: bool) -> None:
    day = "a day's sound" if accelerated else "24 h"
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
    ended = sum(counts.get(name, 0) for name in ("finished", "refused", "failed", "disconnected"))
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
        for name in ("finished", "disconnected"):
            told, count = end["server"][name] - before[name], counts.get(name, 0)
            if told != count:
                found.append(f"the server counts {told:.0f} {name}, not {count}")
    memory = series[0].trend
    if memory is None:
        found.append("too short to say how memory grows")
    else:
        share, low, high = memory.share(24)
        if low > RSS_GROWTH_A_DAY:
            found.append(f"memory grows by {share:.1%} in a day")
        elif high > RSS_GROWTH_A_DAY:
            found.append(
                f"memory: growth between {low:+.1%} and {high:+.1%} in a day cannot be told from "
                f"{RSS_GROWTH_A_DAY:.0%}; run longer"
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
    axes[-1].set_xlabel("hours of sound" if accelerated else "hours")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    app()
