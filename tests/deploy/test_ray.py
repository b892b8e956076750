"""deploy/ray on a cluster of this machine: scaling, a killed replica and a drain, with clients."""

import asyncio
import os
import signal
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import websockets

from asr_client import AsrClient, Final, Parameters, Reconnecting
from asr_server.load.server_metrics import scrape
from tests.support import ray_serve
from tests.support.balancers import polled
from tests.support.processes import ROOT, state_of
from tests.support.serving import QUIET, RATE, Served, connected, finish_task, run_task, within

CAPACITY = 6
ARGUMENTS = {
    "capacity": CAPACITY,
    "utilization": 0.5,
    "min_replicas": 1,
    "max_replicas": 2,
    "upscale_delay_s": 1,
    "downscale_delay_s": 1,
    "num_cpus": 0.5,
    "open": True,
    "settings": {"ASR_MODEL": "demo"},
}
SAMPLE = ROOT / "tests" / "data" / "greeting.wav"
SENTENCE = "您好，我叫霍聪慧，是销售部的。"


def sentence() -> bytes:
    """Return a spoken sentence and a second of silence."""
    with wave.open(str(SAMPLE)) as file:
        assert file.getframerate() == RATE
        return file.readframes(file.getnframes()) + QUIET


class Caller:
    """A client library's stream of whole sentences, in real time, until it is told to end."""

    def __init__(self, url: str) -> None:
        self.said, self.reconnections = 0, 0
        self.heard: list[str] = []
        self._ending = False
        self.running = asyncio.create_task(self._run(url), name="caller")

    async def end(self) -> None:
        """Finish the sentence, then the task; fails unless every sentence came back, once."""
        self._ending = True
        await self.running
        assert self.heard == [SENTENCE] * self.said
        assert self.reconnections == 0

    async def _run(self, url: str) -> None:
        async with AsrClient(url, parameters=Parameters(max_sentence_silence=300)) as client:
            async for event in client.open(self._sentences(), pace=1):
                self.reconnections += isinstance(event, Reconnecting)
                if isinstance(event, Final):
                    self.heard.append(event.sentence.text)

    async def _sentences(self) -> AsyncIterator[bytes]:
        while not self._ending:
            self.said += 1
            yield sentence()


async def tasks(port: int) -> float:
    """Return the open tasks of a replica."""
    return (await scrape(Served(port, None).url)).get("asr_open_tasks", -1)


async def others(ports: set[int], known: set[int]) -> set[int]:
    """Return the ready replicas that are not known yet."""
    return {port for port in ports - known if await state(port) == "ready"}


async def state(port: int) -> str:
    """Return what a replica says at /readyz."""
    return await asyncio.to_thread(state_of, port)


async def ready(cluster: ray_serve.Cluster, known: set[int]) -> int:
    """Return the port of a further replica, once it is ready."""
    while not (found := await others(set(cluster.replicas), known)):
        assert cluster.process.poll() is None, "serve run ended"
        await asyncio.sleep(0.1)  # noqa: ASYNC110
    [port] = found
    return port


async def refusing(*ports: int) -> int:
    """Return the replica that refuses connections, once there is one."""
    while True:
        for port in ports:
            if await state(port) == "":
                return port
        await asyncio.sleep(0.1)


async def done(ends: list[asyncio.Task[None]]) -> int:
    """Return how many have ended."""
    return sum(end.done() for end in ends)


async def alive(pid: int) -> bool:
    """Return whether a process runs."""
    return os.path.exists(f"/proc/{pid}")  # noqa: ASYNC240


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(not ray_serve.is_here(), reason="Ray is not here: deploy/ray/requirements.txt")
@pytest.mark.skipif(sys.platform != "linux", reason="Ray has HAProxy on Linux only")
async def test_replicas_that_come_go_or_die_cost_no_sentence_but_those_of_the_dead() -> None:
    with ray_serve.cluster(ARGUMENTS) as cluster:
        async with within(230), AsyncExitStack() as stack:
            # The first replica.
            first = await ready(cluster, set())
            at = Served(cluster.port, None)
            await polled(cluster.proxied, 1)
            async with websockets.connect(at.url, proxy=None) as offering:
                # uvicorn's default would accept compression: the replica has the server's own.
                assert offering.protocol.extensions == []
            callers = [Caller(cluster.url) for _ in range(4)]
            await polled(lambda: tasks(first), 4)

            # Four tasks are above the target of three: a second replica. HAProxy, started anew for
            # it, does not know of the four: the first one has to refuse what is above its capacity.
            second = await ready(cluster, {first})
            await polled(cluster.proxied, 2)
            crowd = []
            for _ in range(7):
                crowd.append(await stack.enter_async_context(connected(at)))
                await crowd[-1].say(run_task())
                assert (await crowd[-1].event())["header"]["event"] == "task-started"
            assert (await tasks(first), await tasks(second)) == (CAPACITY, 5)

            # It dies. Only its tasks fail, and new ones start at once.
            os.kill(cluster.replicas[second], signal.SIGKILL)
            ends = [asyncio.create_task(client.socket.wait_closed()) for client in crowd]
            await polled(lambda: done(ends), 5)
            for client, end in zip(crowd, ends, strict=True):
                if end.done():
                    assert client.socket.close_code == 1006
                else:
                    await client.say(QUIET, finish_task())
                    events = await client.until("task-finished")
                    assert events[-1]["header"]["event"] == "task-finished"
                    await client.socket.close()  # an open connection is load to Ray
            callers.append(Caller(cluster.url))
            await polled(lambda: tasks(first), 5)

            # Less load: one replica drains while its tasks go on, and new ones go to the other.
            third = await ready(cluster, {first, second})
            await polled(cluster.proxied, 2)
            late = [Caller(cluster.url) for _ in range(2)]
            await polled(lambda: tasks(third), 1)
            await asyncio.gather(*(caller.end() for caller in callers[1:]))
            gone = await refusing(first, third)
            left = third if gone == first else first
            before = await tasks(left)
            last = Caller(cluster.url)
            await polled(lambda: tasks(left), before + 1)
            await asyncio.gather(*(caller.end() for caller in (callers[0], *late, last)))
            await polled(lambda: alive(cluster.replicas[gone]), False)
