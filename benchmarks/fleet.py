"""Simulate a day of a fleet: how many streams are refused or cut, at what cost, by scaling policy.

    python -m benchmarks.fleet          writes results/fleet.json and plots/fleet.png; a minute

Streams arrive by a day curve with two humps, half as many again from 14:00 to 15:00, and Poisson
noise; their durations are exponential. A balancer gives each to the machine with the fewest. A
machine takes as many as `asr_capacity_streams` says, starts late, fails now and then, and finishes
its streams before it stops, or cuts them after the grace period. Streams that were cut come again
at once; refused ones do not.
"""

import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import plotting

RESULTS, PLOT = Path("benchmarks/results/fleet.json"), Path("benchmarks/plots/fleet.png")
DAY_S, STEP_S = 86_400, 10
POLICY_EVERY_S, STABILISATION_S = 30, 600
MAX_SHRINK_PER_MINUTE = 0.05
SIZES = (100, 10_000, 1_000_000)
STARTUPS_S = (60, 180, 600)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Hold what a day is like."""

    peak_streams: int
    capacity: int = 67
    """Live streams of one machine: two cores of an AMD EPYC (Zen 5), production size, int8."""
    stream_s: float = 180
    """Mean duration of a stream."""
    startup_s: float = 180
    """From the decision to a machine that serves: node, image, model."""
    jump: float = 1.5
    """Factor on the arrivals of one hour: a campaign, or another site that fails."""
    grace_s: float = 300
    failures_per_day: float = 1 / 30
    """Of one machine."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class View:
    """Hold what a policy sees: metrics of the servers."""

    streams: int
    growth_per_s: float
    """Over the last five minutes."""
    machines: int
    """Serving or starting."""
    conditions: Conditions

    @property
    def utilization(self) -> float:
        """Return `asr_utilization_ratio` of the fleet."""
        return self.streams / max(1, self.machines * self.conditions.capacity)


Policy = Callable[[View], float]
"""Returns how many machines there should be."""


def _threshold(share: float) -> Policy:
    return lambda view: view.streams / (share * view.conditions.capacity)


def _ahead(view: View) -> float:
    """Return the machines for the streams expected once a machine that starts now serves."""
    coming = max(0.0, view.growth_per_s) * (view.conditions.startup_s + POLICY_EVERY_S)
    return (view.streams + coming) / (0.85 * view.conditions.capacity)


def _delay(view: View) -> float:
    """Return a fifth more above 0.8 of the delay at which tasks are refused; see admission.py."""
    delay_ms = 20 / max(0.05, 1 - 0.87 * view.utilization)
    if delay_ms > 0.8 * 150:
        return 1.2 * view.machines
    return 0.95 * view.machines if delay_ms < 0.4 * 150 else view.machines


POLICIES: dict[str, Policy] = {
    "70 % of the capacity": _threshold(0.7),
    "85 % of the capacity": _threshold(0.85),
    "85 % of what is expected": _ahead,
    "delay": _delay,
}


@dataclass(slots=True)
class Day:
    """Hold what happened, and the course of the day for the plot."""

    arrived: int = 0
    refused: int = 0
    cut: int = 0
    machine_hours: float = 0.0
    utilization: float = 0.0
    """Mean over the machines that serve."""
    hours: list[float] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)
    machines: list[int] = field(default_factory=list)


def demand(second: float) -> float:
    """Return the share of the peak at a second of the day, without the jump."""
    hour = second / 3600

    def hump(at: float, width: float) -> float:
        return math.exp(-(((hour - at) / width) ** 2))

    return 0.05 + 0.9 * min(1.0, hump(10.5, 2.2) + 0.9 * hump(15.5, 2.4) + 0.35 * hump(20.5, 1.8))


def simulate(conditions: Conditions, policy: Policy) -> Day:
    """Return a day under a policy."""
    random = np.random.default_rng(conditions.seed)
    capacity, day = conditions.capacity, Day()
    streams = round(conditions.peak_streams * demand(0))
    count = max(2, math.ceil(streams / (0.7 * capacity)))
    load = spread(np.zeros(count, np.int64), capacity, streams)[0]
    ready_at, stops_at = np.zeros(count), np.full(count, np.inf)
    wanted: deque[float] = deque(maxlen=STABILISATION_S // POLICY_EVERY_S)
    past: deque[int] = deque([streams], maxlen=300 // STEP_S)
    ending = 1 - math.exp(-STEP_S / conditions.stream_s)
    utilization: list[float] = []
    for now in range(0, DAY_S, STEP_S):
        load -= random.binomial(load, ending)
        failed = random.random(len(load)) < conditions.failures_per_day * STEP_S / DAY_S
        cut = int(load[failed | (stops_at <= now)].sum())
        kept = ~failed & (stops_at > now) & (np.isinf(stops_at) | (load > 0))
        load, ready_at, stops_at = load[kept], ready_at[kept], stops_at[kept]
        share = demand(now) * (conditions.jump if 14 * 3600 <= now < 15 * 3600 else 1.0)
        arriving = int(random.poisson(conditions.peak_streams * share * ending))
        serving = (ready_at <= now) & np.isinf(stops_at)
        load[serving], refused = spread(load[serving], capacity, arriving + cut)
        streams = int(load.sum())
        if now % POLICY_EVERY_S == 0:
            active = np.isinf(stops_at)
            growth = (streams - past[0]) / (len(past) * STEP_S)
            wanted.append(policy(View(streams, growth, int(active.sum()), conditions)))
            lacking = math.ceil(wanted[-1]) - int(active.sum())
            if lacking > 0:
                load = np.append(load, np.zeros(lacking, np.int64))
                ready_at = np.append(ready_at, np.full(lacking, now + conditions.startup_s))
                stops_at = np.append(stops_at, np.full(lacking, np.inf))
            surplus = int(active.sum()) - max(2, math.ceil(max(wanted)))
            if surplus > 0 and now % 60 == 0:
                surplus = min(surplus, math.ceil(MAX_SHRINK_PER_MINUTE * active.sum()))
                idle = np.flatnonzero(np.isinf(stops_at) & (ready_at <= now))
                # pod-deletion-cost: those with the fewest streams stop.
                stopping = idle[np.argsort(load[idle], kind="stable")[:surplus]]
                stops_at[stopping] = now + conditions.grace_s
        past.append(streams)
        day.arrived, day.refused, day.cut = (
            day.arrived + arriving, day.refused + refused, day.cut + cut,
        )  # fmt: skip
        day.machine_hours += len(load) * STEP_S / 3600
        utilization.append(streams / max(1, capacity * int(serving.sum())))
        if now % 300 == 0:
            day.hours.append(now / 3600)
            day.streams.append(streams)
            day.machines.append(len(load))
    day.utilization = float(np.mean(utilization))
    return day


def spread(load: NDArray[np.int64], capacity: int, arriving: int) -> tuple[NDArray[np.int64], int]:
    """Return the loads once each stream went to the machine with the fewest, and the refused."""
    taken = min(arriving, int((capacity - load).sum()))
    if not taken:
        return load, arriving
    order = np.argsort(load, kind="stable")
    level = load[order]
    below = np.cumsum(level)
    # Streams that raise the k lowest machines to the load of the next one.
    needed = np.arange(1, len(level)) * level[1:] - below[:-1]
    lowest = int(np.searchsorted(needed, taken, side="right")) + 1
    each, rest = divmod(taken + int(below[lowest - 1]), lowest)
    level[:lowest] = each
    level[:rest] += 1
    loads = np.empty_like(load)
    loads[order] = level
    return loads, arriving - taken


def main(to: Annotated[Path, typer.Option(help="The file to write.")] = RESULTS) -> None:
    """Simulate every policy by size and by the time to start a machine; write figures and plot."""
    rows, days = [], {}
    middle = SIZES[1]
    cases = [Conditions(peak) for peak in SIZES]
    cases += [Conditions(middle, startup_s=one) for one in STARTUPS_S if one != cases[0].startup_s]
    runs = [(case, name) for case in cases for name in POLICIES]
    for conditions, name in track(runs, transient=True):
        day = simulate(conditions, POLICIES[name])
        days[conditions, name] = day
        rows.append({"policy": name, **figures(day, conditions)})
    given = asdict(Conditions(0))
    to.write_text(json.dumps({"conditions": given, "rows": rows}, indent=1) + "\n")
    _plot({name: days[cases[2], name] for name in POLICIES})
    table = Table("peak", "start", "policy", "refused", "cut", "utilisation", "cost", box=None)
    for row in rows:
        table.add_row(
            f"{row['peak_streams']:,}",
            f"{row['startup_s']:g} s",
            str(row["policy"]),
            *(f"{row[share]:.2%}" for share in ("refused", "cut", "utilization")),
            f"{row['cost']:.2f}",
        )
    Console(width=110).print(table)


def figures(day: Day, conditions: Conditions) -> dict[str, float]:
    """Return the figures of a day; `cost` is in terms of machines that are always full."""
    least_h = float(np.mean(day.streams)) * 24 / conditions.capacity
    return {
        "peak_streams": conditions.peak_streams,
        "startup_s": conditions.startup_s,
        "arrived": day.arrived,
        "refused": day.refused / day.arrived,
        "cut": day.cut / day.arrived,
        "utilization": day.utilization,
        "machine_hours": day.machine_hours,
        "cost": day.machine_hours / least_h,
    }


def _plot(days: dict[str, Day]) -> None:
    capacity = Conditions(0).capacity
    figure, axes = plotting.new_figure(
        f"A day with {SIZES[-1]:,} streams at its peak, simulated: {capacity} streams a machine, "
        f"{Conditions(0).startup_s:g} s to start one",
        2.0 * len(days),
        rows=len(days),
    )
    for axis, (name, day) in zip(axes, days.items(), strict=True):
        held = [capacity * count / 1e6 for count in day.machines]
        axis.fill_between(day.hours, held, color=plotting.PEER, alpha=0.5, label="capacity")
        streams = [one / 1e6 for one in day.streams]
        axis.plot(day.hours, streams, color=plotting.ENGINE, label="streams")
        share = day.refused / day.arrived
        axis.set_title(f"{name}: {share:.2%} refused", loc="left", fontsize=9)
        axis.set_ylabel("millions")
    axes[0].legend(frameon=False, loc="upper left")
    axes[-1].set_xlabel("hour of the day")
    plotting.save(figure, PLOT)


if __name__ == "__main__":
    typer.run(main)
