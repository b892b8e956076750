"""Many clients at once, each with one task after another, for a while."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from asr_server.load.figures import Figures, Goals, figures
from asr_server.load.recordings import Recording
from asr_server.load.server_metrics import ServerFigures
from asr_server.load.task_record import TaskRecord

RAMP_UP_S, FEW_EACH_S, MANY_EACH_S = 5.0, 0.5, 0.125
"""A few clients start within half a second each, more within 5 s, but never over 8 a second."""
WARM_UP_TASKS = 4
CUT_SHORT = 0.25
"""Share of the tasks that finish in the middle of the recording, perhaps in mid-sentence."""
RETRY_PAUSE_S = 1.0
"""Pause of a client after a task that was refused or failed."""


@dataclass(frozen=True, slots=True)
class Level:
    """The figures of a number of streams."""

    streams: int
    clients: Figures
    server: ServerFigures | None
    broken: tuple[str, ...]
    """Goals that were not kept, and other failures."""

    @property
    def held(self) -> bool:
        """Return whether the server kept all goals."""
        return not self.broken


async def warm_up(target: Target, recordings: Sequence[Recording]) -> None:
    """Run a few unmeasured tasks: the first ones take longest."""
    unpaced = replace(target, pace=0)
    await asyncio.gather(*(run_client(unpaced, one) for one in recordings[:WARM_UP_TASKS]))


class LoadGenerator:
    """A number of concurrent clients."""

    def __init__(
        self, target: Target, recordings: Sequence[Recording], streams: int, seconds: float
    ) -> None:
        self._target = target
        self._recordings = recordings
        self.streams = streams
        self.records: list[TaskRecord] = []
        """Tasks in the order of their start; the last ones are still open."""
        self.open = 0
        """Clients with a task right now."""
        self.ramp_up_s = max(min(RAMP_UP_S, FEW_EACH_S * streams), MANY_EACH_S * streams)
        self.clock = asyncio.get_running_loop().time
        self.measured_from = self.clock() + self.ramp_up_s
        """When the last client has started."""
        self.measured_until = self.measured_from + seconds

    async def run(self, goals: Goals) -> Level:
        """Run all clients and return their figures."""
        clients = [asyncio.create_task(self._client(n), name=f"{n}") for n in range(self.streams)]
        try:
            await asyncio.sleep(self.measured_from - self.clock())
            before = await server_metrics.sample(self._target.url)
            await asyncio.sleep(self.measured_until - self.clock())
            after = await server_metrics.sample(self._target.url)
            await asyncio.gather(*clients)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.wait(clients)
        measured = self.figures()
        server = server_metrics.between(before, after, self.measured_until - self.measured_from)
        return Level(self.streams, measured, server, tuple(measured.broken(goals)))

    def figures(self) -> Figures:
        """Return the figures since the last client has started."""
        return figures(self.records, self.measured_from, self.measured_until)

    async def _client(self, number: int) -> None:
        rng = random.Random(number)  # evenly spread clients would send in bursts
        await asyncio.sleep(rng.uniform(0, self.ramp_up_s))
        turn = number
        while self.clock() < self.measured_until:
            recording = self._recordings[turn % len(self._recordings)]
            until = self.measured_until
            if rng.random() < CUT_SHORT:
                until = min(until, self.clock() + rng.uniform(0.2, 0.9) * recording.duration_s)
            self.open += 1
            try:
                record = await run_client(self._target, recording, until, records=self.records)
            finally:
                self.open -= 1
            turn += 1
            if record.error is not None:
                await asyncio.sleep(RETRY_PAUSE_S)
