"""One client and many, against a real server, and against some that misbehave."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from websockets.asyncio.server import serve

from asr_server.load import server
from asr_server.load.crowd import Crowd
from asr_server.load.figures import Goals
from asr_server.load.recordings import Recording, Speech
from asr_server.load.speaker import Target, speak
from tests.support.serving import FRAME, LOUD, QUIET, serving

SOUND = QUIET[: 3 * FRAME] + LOUD + QUIET[: 10 * FRAME]
RECORDING = Recording(
    "loud",
    tuple(SOUND[place : place + FRAME] for place in range(0, len(SOUND), FRAME)),
    (Speech(0.3, 1.3),),
)
SHORT = {"max_sentence_silence": 200}


@pytest.fixture
async def served():
    async with serving() as it:
        yield it


@asynccontextmanager
async def scripted(*answers):
    """A server that answers run-task with these messages and reads on; an int closes with it."""

    async def answer(socket):
        await socket.recv()
        for message in answers:
            if isinstance(message, int):
                await socket.close(message)
                return
            await socket.send(message)
        async for _ in socket:
            pass

    async with serve(answer, "127.0.0.1", 0) as at:
        yield f"ws://127.0.0.1:{at.sockets[0].getsockname()[1]}/"


def event(name: str, **header) -> str:
    return json.dumps({"header": {"event": name, **header}, "payload": {}})


async def test_a_recording_is_said_in_real_time_and_its_answers_are_stamped(served):
    clock = asyncio.get_running_loop().time
    began = clock()
    account = await speak(Target(served.url, parameters=SHORT), RECORDING)
    assert account.finished
    assert len(account.texts) == 1
    assert account.sent == len(RECORDING.frames) == len(account.late)
    assert clock() - began >= RECORDING.duration_s
    assert account.asked - account.began == pytest.approx(RECORDING.duration_s, abs=0.1)
    assert all(0.3 < one.at - account.began < RECORDING.duration_s + 0.5 for one in account.shown)


async def test_unpaced_it_is_said_at_once_and_heard_the_same(served):
    paced, fast = await asyncio.gather(
        speak(Target(served.url, parameters=SHORT), RECORDING),
        speak(Target(served.url, parameters=SHORT, pace=0), RECORDING),
    )
    assert fast.texts == paced.texts != ()
    assert fast.asked - fast.began < 0.5


async def test_it_finishes_early_when_time_is_up(served):
    until = asyncio.get_running_loop().time() + 0.5
    account = await speak(Target(served.url), RECORDING, until)
    assert account.finished
    assert not account.whole
    assert 1 <= account.sent <= 6


async def test_it_can_vanish_without_a_word(served):
    account = await speak(Target(served.url), RECORDING, vanish_after=3)
    assert (account.sent, account.finished, account.error) == (3, False, None)
    for _ in range(200):
        if (await server.scrape(served.url)).get("asr_tasks_total{disconnected}") == 1:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the server did not notice")


async def test_a_full_server_refuses_and_is_not_blamed():
    async with serving(max_tasks=1) as served:
        first = asyncio.create_task(speak(Target(served.url), RECORDING))
        await asyncio.sleep(0.3)
        second = await speak(Target(served.url), RECORDING)
        assert (second.error, second.refused) == ("Throttling.RateQuota", True)
        assert (await first).finished


async def test_a_server_without_room_for_connections_refuses_too():
    async with serving(max_connections=1) as served:
        first = asyncio.create_task(speak(Target(served.url), RECORDING))
        await asyncio.sleep(0.3)
        second = await speak(Target(served.url), RECORDING)
        assert (second.error, second.refused) == ("HTTP 503", True)
        await first


async def test_a_key_opens_the_server_and_a_wrong_one_does_not():
    async with serving(api_keys=("sk-right",)) as served:
        right = await speak(Target(served.url, "sk-right", pace=0), RECORDING)
        wrong = await speak(Target(served.url, "sk-wrong", pace=0), RECORDING)
        assert right.finished
        assert (wrong.error, wrong.refused) == ("HTTP 401", False)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([event("task-failed", error_code="InternalError")], "InternalError"),
        ([event("task-started"), event("task-failed", error_code="CLIENT_ERROR")], "CLIENT_ERROR"),
        ([1011], "closed with 1011"),
        ([event("task-started"), 1001], "closed with 1001"),
        (["{}"], "not the protocol"),
        ([event("task-started"), "[]"], "not the protocol"),
        ([event("task-started")], "no answer"),
    ],
)
async def test_whatever_a_server_does_is_an_account_and_no_exception(answers, error):
    async with scripted(*answers) as url:
        account = await speak(Target(url, patience_s=0.3, pace=20), RECORDING)
        assert (account.error, account.finished, account.refused) == (error, False, False)


async def test_no_server_is_an_account_too():
    account = await speak(Target("ws://127.0.0.1:9/"), RECORDING)
    assert account.error == "no connection (ConnectionRefusedError)"


async def test_a_server_that_stops_reading_is_late_itself_and_not_the_client():
    async def deaf(socket):
        await socket.recv()
        await socket.send(event("task-started"))
        await asyncio.sleep(1.5)

    big = Recording("big", (bytes(1 << 20),) * 40, ())
    async with serve(deaf, "127.0.0.1", 0, max_size=None, max_queue=1, close_timeout=0) as at:
        url = f"ws://127.0.0.1:{at.sockets[0].getsockname()[1]}/"
        speaking = asyncio.create_task(speak(Target(url, pace=100), big))
        await asyncio.sleep(1.0)
        assert not speaking.done()
        at.close(close_connections=True)
        account = await speaking
    assert account.sent < 40
    assert max(late for _, late in account.late) < 0.2


async def test_a_crowd_is_as_many_as_asked_and_comes_to_figures(served, monkeypatch):
    monkeypatch.setattr("asr_server.load.crowd.JOIN_S", 0.5)
    brief = replace(RECORDING, frames=RECORDING.frames[3:13], speech=(Speech(0.0, 1.0),))
    crowd = Crowd(Target(served.url, parameters=SHORT), [brief], 5, 4.0)
    holding = asyncio.create_task(crowd.hold(Goals(2.0, 2.0, 2.0)))
    await asyncio.sleep(1.0)
    assert crowd.open == 5
    level = await holding
    assert level.held, level.broken
    assert level.clients.finished >= 5
    assert level.clients.first_text.p50 > 0
    assert level.server is not None
    assert level.server.rss_mb > 10


async def test_a_server_that_shows_no_figures_is_measured_without_them(served):
    assert await server.read("ws://127.0.0.1:9/api-ws/v1/inference") is None
    assert (await server.read(served.url)).steps >= 0


@pytest.mark.parametrize(
    ("url", "metrics"),
    [
        ("ws://a:8000/api-ws/v1/inference", "http://a:8000/metrics"),
        ("wss://a/asr/api-ws/v1/inference", "https://a/asr/metrics"),
    ],
)
def test_figures_are_asked_for_beside_the_endpoint(url, metrics):
    assert server.metrics_url(url) == metrics
