"""One client and many, against a real server, and against misbehaving servers."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from websockets.asyncio.server import serve

from asr_server.load import server_metrics
from asr_server.load.client_run import Target, run_client
from asr_server.load.figures import Goals
from asr_server.load.load_generator import LoadGenerator
from asr_server.load.recordings import Recording, Speech
from asr_server.load.task_record import TaskRecord
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
    """A server that answers run-task with these messages and reads on; an int is a close code."""

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


async def test_a_recording_is_sent_in_real_time_and_its_results_are_stamped(served):
    clock = asyncio.get_running_loop().time
    began = clock()
    record = await run_client(Target(served.url, parameters=SHORT), RECORDING)
    assert record.finished
    assert len(record.texts) == 1
    assert record.sent == len(RECORDING.frames) == len(record.late)
    assert clock() - began >= RECORDING.duration_s
    assert -0.1 < record.finish_sent - record.began - RECORDING.duration_s < 1
    assert all(0.3 < one.at - record.began < RECORDING.duration_s + 0.5 for one in record.results)


async def test_unpaced_audio_is_sent_at_once_and_gives_the_same_text(served):
    paced, fast = await asyncio.gather(
        run_client(Target(served.url, parameters=SHORT, pace=3), RECORDING),
        run_client(Target(served.url, parameters=SHORT, pace=0), RECORDING),
    )
    assert fast.texts == paced.texts != ()
    assert fast.finish_sent - fast.began < RECORDING.duration_s / 2


async def test_a_client_finishes_early_when_time_is_up(served):
    until = asyncio.get_running_loop().time() + 0.5
    record = await run_client(Target(served.url), RECORDING, until)
    assert record.finished
    assert not record.whole
    assert 1 <= record.sent <= 6


async def test_a_client_can_abort_without_a_close_frame(served):
    record = await run_client(Target(served.url), RECORDING, abort_after=3)
    assert (record.sent, record.finished, record.error) == (3, False, None)
    for _ in range(200):
        if (await server_metrics.scrape(served.url)).get("asr_tasks_total{disconnected}") == 1:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the server counts no disconnected task")


async def started(url: str) -> asyncio.Task[TaskRecord]:
    """A client whose task is open."""
    records: list[TaskRecord] = []
    client = asyncio.create_task(run_client(Target(url, pace=3), RECORDING, records=records))
    while not (records and records[0].sent):  # noqa: ASYNC110 - a record has no event
        await asyncio.sleep(0.01)
    return client


async def test_a_refusal_is_no_failure():
    async with serving(max_tasks=1) as served:
        first = await started(served.url)
        second = await run_client(Target(served.url), RECORDING)
        assert (second.error, second.refused) == ("Throttling.RateQuota", True)
        assert (await first).finished


async def test_a_refused_connection_is_no_failure_either():
    async with serving(max_connections=1) as served:
        first = await started(served.url)
        second = await run_client(Target(served.url), RECORDING)
        assert (second.error, second.refused) == ("HTTP 503", True)
        await first


async def test_a_wrong_key_is_an_error():
    async with serving(api_keys=("sk-the-right-key-1",)) as served:
        right = await run_client(Target(served.url, "sk-the-right-key-1", pace=0), RECORDING)
        wrong = await run_client(Target(served.url, "sk-a-wrong-key-12", pace=0), RECORDING)
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
async def test_whatever_a_server_does_is_recorded_and_raises_nothing(answers, error):
    async with scripted(*answers) as url:
        record = await run_client(Target(url, timeout_s=0.3, pace=20), RECORDING)
        assert (record.error, record.finished, record.refused) == (error, False, False)


async def test_an_unreachable_server_is_recorded():
    record = await run_client(Target("ws://127.0.0.1:9/"), RECORDING)
    assert record.error == "no connection (ConnectionRefusedError)"


async def test_frames_that_a_server_does_not_read_are_not_counted_as_late():
    closed = asyncio.Event()

    async def deaf(socket):
        await socket.recv()
        await socket.send(event("task-started"))
        await closed.wait()

    big = Recording("big", (bytes(1 << 20),) * 40, ())
    async with serve(deaf, "127.0.0.1", 0, max_size=None, max_queue=1, close_timeout=0) as at:
        url = f"ws://127.0.0.1:{at.sockets[0].getsockname()[1]}/"
        running = asyncio.create_task(run_client(Target(url, pace=100), big))
        await asyncio.sleep(1.0)
        assert not running.done()
        at.close(close_connections=True)
        closed.set()
        record = await running
    assert record.sent < 40
    assert max(late for _, late in record.late) < 0.5


async def test_a_load_generator_keeps_all_streams_open_and_measures_them(served, monkeypatch):
    monkeypatch.setattr("asr_server.load.load_generator.RAMP_UP_S", 0.5)
    brief = replace(RECORDING, frames=RECORDING.frames[3:13], speech=(Speech(0.0, 1.0),))
    generator = LoadGenerator(Target(served.url, parameters=SHORT), [brief], 5, 2.5)
    measuring = asyncio.create_task(generator.run(Goals(2.0, 2.0, 2.0)))
    while generator.open < 5:  # noqa: ASYNC110 - a stream that opens has no event
        await asyncio.sleep(0.01)
    level = await measuring
    assert level.held, level.broken
    assert level.clients.finished >= 5
    assert level.clients.first_text.p50 > 0
    assert level.server is not None
    assert level.server.rss_mb > 10


async def test_a_server_without_metrics_gives_no_sample(served):
    assert await server_metrics.sample("ws://127.0.0.1:9/api-ws/v1/inference") is None
    assert (await server_metrics.sample(served.url))["steps"] >= 0


@pytest.mark.parametrize(
    ("url", "metrics"),
    [
        ("ws://a:8000/api-ws/v1/inference", "http://a:8000/metrics"),
        ("wss://a/asr/api-ws/v1/inference", "https://a/asr/metrics"),
    ],
)
def test_metrics_are_beside_the_websocket_route(url, metrics):
    assert server_metrics.metrics_url(url) == metrics
