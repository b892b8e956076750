"""A process that stood still reads what came meanwhile before a client counts as silent."""

import asyncio
import time

import pytest

from asr_server.websocket import deadline_timer
from asr_server.websocket.deadline_timer import DeadlineTimer
from tests.support.serving import LOUD, QUIET, connected, finish_task, run_task, serving, texts

STANDSTILL_S = 0.1


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(deadline_timer, "STANDSTILL_S", STANDSTILL_S)


def stand_still(seconds: float) -> None:
    """Stop the event loop, as SIGSTOP or a suspended machine does."""
    time.sleep(seconds)


async def test_audio_that_waits_in_the_socket_keeps_its_task():
    async with serving(input_timeout_s=0.2) as served, connected(served) as client:
        await client.say(run_task())
        await client.until("task-started")
        await client.say(LOUD + QUIET)  # lies in the socket: server and client share this loop
        stand_still(0.5)
        await client.say(finish_task())
        assert len(texts(await client.until("task-finished"))) == 1


async def test_a_client_that_sent_nothing_meanwhile_still_times_out():
    async with serving(input_timeout_s=0.2) as served, connected(served) as client:
        await client.say(run_task())
        await client.until("task-started")
        stand_still(0.5)
        assert (await client.until())[-1]["header"]["error_code"] == "CLIENT_ERROR"


async def test_a_run_task_that_waits_in_the_socket_keeps_its_connection():
    async with serving(connection_timeout_s=0.2) as served, connected(served) as client:
        await client.say(run_task(), LOUD + QUIET, finish_task())
        stand_still(0.5)
        assert len(texts(await client.until("task-finished"))) == 1


async def test_a_timer_fires_once_its_deadline_has_come_wherever_it_moved():
    loop, fired = asyncio.get_running_loop(), asyncio.Event()
    deadline = loop.time() + 60
    timer = DeadlineTimer(lambda: deadline, fired.set)
    timer.update()
    deadline = loop.time() + 0.01
    timer.update()
    await fired.wait()
    assert deadline <= loop.time() < deadline + 30


async def test_events_during_the_grace_after_a_standstill_do_not_postpone_the_deadline_for_ever():
    loop, fired = asyncio.get_running_loop(), asyncio.Event()
    deadline = loop.time() + 0.01
    timer = DeadlineTimer(lambda: deadline, fired.set)
    timer.update()
    stand_still(0.3)
    await asyncio.sleep(0)
    assert not fired.is_set()
    until = loop.time() + 2
    while not fired.is_set() and loop.time() < until:
        timer.update()
        await asyncio.sleep(0.005)
    assert fired.is_set()
