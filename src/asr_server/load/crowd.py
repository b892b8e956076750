"""Many clients at once, one task after another each, for a while."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asr_server.load import server
from asr_server.load.account import Account
from asr_server.load.figures import Figures, Goals, figures
from asr_server.load.recordings import Recording
from asr_server.load.server import ServerFigures
from asr_server.load.speaker import Target, speak

JOIN_S, FEW_EACH_S, MANY_EACH_S = 5.0, 0.5, 0.125
"""A few join within half a second each, more within 5 s, but never over 8 a second: nowhere do all
calls begin at once."""
WARMING = 4
HANGING_UP = 0.25
"""Share of the tasks that are finished in the middle of the recording, where speech may go on."""
PAUSE_S = 1.0
"""A client whose task was refused or failed tries again after that long."""


@dataclass(frozen=True, slots=True)
class Level:
    """What so many streams were like."""

    streams: int
    clients: Figures
    server: ServerFigures | None
    refused_while_joining: int
    broken: tuple[str, ...]
    """Which goals were not kept, and what else went wrong."""

    @property
    def held(self) -> bool:
        """Whether the server kept all goals."""
        return not self.broken


async def warm_up(target: Target, recordings: Sequence[Recording]) -> None:
    """Say a few recordings at once, which nobody measures: what is done first takes longest."""
    unpaced = replace(target, pace=0)
    await asyncio.gather(*(speak(unpaced, recording) for recording in recordings[:WARMING]))


class Crowd:
    """So many people who speak for so long."""

    def __init__(
        self, target: Target, recordings: Sequence[Recording], streams: int, seconds: float
    ) -> None:
        self._target = target
        self._recordings = recordings
        self.streams = streams
        self.accounts: list[Account] = []
        """Tasks in the order in which they began; the last ones still run."""
        self.open = 0
        """People with a task right now."""
        self.join_s = max(min(JOIN_S, FEW_EACH_S * streams), MANY_EACH_S * streams)
        self._clock = asyncio.get_running_loop().time
        self.began = self._clock()
        self.full = self.began + self.join_s
        """When the last one joins and measuring begins."""
        self.until = self.full + seconds

    async def hold(self, goals: Goals) -> Level:
        """Let them speak and say how it was."""
        people = [asyncio.create_task(self._person(n), name=f"{n}") for n in range(self.streams)]
        try:
            await asyncio.sleep(self.full - self._clock())
            before = await server.read(self._target.url)
            await asyncio.sleep(self.until - self._clock())
            after = await server.read(self._target.url)
            await asyncio.gather(*people)
        finally:
            for person in people:
                person.cancel()
            await asyncio.wait(people)
        seen = self.figures()
        joining = [a for a in self.accounts if a.refused and (a.ended or 0.0) < self.full]
        broken = tuple(seen.broken(goals))
        told = server.between(before, after, self.until - self.full)
        return Level(self.streams, seen, told, len(joining), broken)

    def figures(self) -> Figures:
        """What was seen since everybody had joined."""
        return figures(self.accounts, self.full, self.until)

    async def _person(self, number: int) -> None:
        dice = random.Random(number)  # spread evenly, their frames would come in bursts
        await asyncio.sleep(dice.uniform(0, self.join_s))
        turn = number
        while self._clock() < self.until:
            self.open += 1
            try:
                recording = self._recordings[turn % len(self._recordings)]
                until = self.until
                if dice.random() < HANGING_UP:
                    said_s = dice.uniform(0.2, 0.9) * recording.duration_s
                    until = min(until, self._clock() + said_s)
                account = await speak(self._target, recording, until, accounts=self.accounts)
            finally:
                self.open -= 1
            turn += 1
            if account.error is not None:
                await asyncio.sleep(PAUSE_S)
