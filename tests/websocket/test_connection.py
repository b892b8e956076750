"""A plain WebSocket client against a real server with the fake backend."""

import asyncio
import json

import pytest
import websockets

from tests.support.serving import (
    LOUD,
    QUIET,
    Client,
    connected,
    error,
    finish_task,
    names,
    run_task,
    serving,
    texts,
    within,
)

SPEECH = QUIET + LOUD + LOUD + QUIET + QUIET + LOUD + QUIET


@pytest.fixture
async def served():
    async with serving() as server:
        yield server


@pytest.fixture
async def client(served):
    async with connected(served) as client:
        yield client


def continue_task(context: object) -> str:
    header = {"action": "continue-task", "task_id": "task", "streaming": "duplex"}
    return json.dumps({"header": header, "payload": {"input": {"context": context}}})


def conversation(text: str) -> list[dict]:
    return [{"role": "user", "content": [{"type": "input_text", "text": text}]}]


async def final(client: Client) -> str:
    """The text of the next final."""
    while not (found := texts(await client.until("result-generated"))):
        pass
    return found[0]


async def recognise(client: Client, audio: bytes = SPEECH, task_id: str = "task", **parameters):
    await client.say(run_task(task_id, **parameters))
    await client.stream(audio)
    await client.say(finish_task(task_id))
    return await client.until("task-finished")


async def test_commands_are_read_from_binary_frames_too(client):
    await client.say(run_task().encode())
    await client.stream(SPEECH)
    await client.say(finish_task().encode())
    assert len(texts(await client.until("task-finished"))) == 2


async def test_a_parameter_that_is_ignored_is_logged_with_its_name(client, caplog):
    caplog.set_level("INFO", "asr_server")
    await recognise(client, vad_model="near_meeting_16k", max_sentence_silence=0.8)
    [record] = [one for one in caplog.records if "ignored" in one.message]
    assert record.parameters == ["vad_model", "max_sentence_silence"]


async def test_what_a_message_model_lacks_and_an_unreadable_context_are_logged_as_ignored(
    client, caplog
):
    caplog.set_level("INFO", "asr_server")
    model = "qwen-audio-3.1-asr-flash-message"
    for task_id in ("first", "second"):
        await recognise(client, task_id=task_id, model=model, language_hints=["zh"])
    await client.say(run_task("third"), continue_task({"role": "user"}), LOUD, finish_task())
    await client.until("task-finished")
    records = [one for one in caplog.records if "ignored" in one.message]
    assert [(one.task_id, one.parameters) for one in records] == [
        ("first", ["language_hints"]),
        ("third", ["input.context"]),
    ]
    assert {one.levelname for one in records} == {"INFO"}


@pytest.mark.parametrize("finish", [[], [finish_task("first")]], ids=["streaming", "finishing"])
async def test_a_run_task_before_task_finished_loses_no_final(client, finish):
    whole = texts(await recognise(client))
    await client.say(run_task("first"), SPEECH, *finish)
    await client.say(run_task("second"), SPEECH, finish_task("second"))
    first, second = await client.until("task-finished"), await client.until("task-finished")
    assert texts(first) == texts(second) == whole
    assert [events[-1]["header"]["task_id"] for events in (first, second)] == ["first", "second"]
    assert names(second)[0] == "task-started"


async def test_a_wrong_run_task_behind_a_running_task_fails_after_its_last_final(client):
    await client.say(run_task("first"), SPEECH, run_task("second", model="whisper"))
    assert len(texts(await client.until("task-finished"))) == 2
    assert error(await client.until())[0] == "ModelNotFound"


async def test_gummy_chat_recognises_one_sentence_and_waits_for_finish_task(client):
    await client.say(run_task(model="gummy-chat-v1"))
    await client.stream(SPEECH)
    events = await client.until("result-generated")
    while not events[-1]["payload"].get("usage"):
        events.append(await client.event())
    await client.stream(LOUD)
    await client.say(finish_task())
    assert names(await client.until("task-finished")) == ["task-finished"]
    assert names(await recognise(client, task_id="next"))[-1] == "task-finished"


async def test_names_of_a_context_are_favoured_until_continue_task_replaces_it(client):
    starting = json.loads(run_task())
    starting["payload"]["input"] = {"context": conversation("玄皇")}
    await client.say(json.dumps(starting), LOUD + LOUD, QUIET)
    finals = [await final(client)]
    await client.say(continue_task(conversation("悬黄")), LOUD + LOUD, QUIET)
    finals.append(await final(client))
    await client.say(continue_task([]), LOUD + LOUD, QUIET, finish_task())
    finals += texts(await client.until("task-finished"))
    assert [text[2:4] for text in finals] == ["玄皇", "悬黄", "玄黄"]


async def test_a_task_is_started_recognised_and_finished(client):
    events = await recognise(client)
    assert names(events)[0] == "task-started"
    assert names(events)[-1] == "task-finished"
    assert len(texts(events)) == 2
    assert all(event["header"]["task_id"] == "task" for event in events)


@pytest.mark.parametrize(
    "path",
    [
        "/api-ws/v1/inference",
        "/api-ws/v1/inference/",
        "/api-ws/v1/inference?a=b",
        "/dashscope/api-ws/v1/inference",
        "/some/prefix/api-ws/v1/inference/?api_key=sk-x",
    ],
)
async def test_the_endpoint_is_found_under_every_url_clients_use(served, path):
    async with connected(served, path) as client:
        assert names(await recognise(client))[-1] == "task-finished"


async def test_another_path_is_not_found(served):
    with pytest.raises(websockets.InvalidStatus) as refusal:
        async with connected(served, "/api-ws/v1/elsewhere"):
            pass
    assert refusal.value.response.status_code in (403, 404)


async def test_several_tasks_follow_one_another_on_a_connection(client):
    first = await recognise(client, task_id="first")
    second = await recognise(client, task_id="second")
    assert texts(first) == texts(second)
    assert {event["header"]["task_id"] for event in second} == {"second"}


async def test_audio_sent_before_task_started_is_not_lost(client):
    waiting = await recognise(client)
    await client.say(run_task("eager"), SPEECH, finish_task("eager"))
    assert texts(await client.until("task-finished")) == texts(waiting)


async def test_audio_after_finish_task_and_between_tasks_is_ignored(client):
    await client.say(run_task(), LOUD, finish_task(), LOUD, LOUD)
    events = await client.until("task-finished")
    await client.say(LOUD)
    again = await recognise(client, LOUD, "again")
    assert texts(events) == texts(again)


async def test_finish_task_with_another_id_and_no_body_finishes_the_task(client):
    await client.say(run_task(), LOUD)
    header = {"action": "finish-task", "task_id": "someone else's", "streaming": "duplex"}
    await client.say(json.dumps({"header": header}))
    assert names(await client.until("task-finished"))[-1] == "task-finished"


async def test_silence_yields_no_result(client):
    events = await recognise(client, QUIET)
    assert names(events) == ["task-started", "task-finished"]


async def test_speech_without_silence_behind_it_is_not_lost(client):
    assert len(texts(await recognise(client, LOUD))) == 1


async def test_the_same_bytes_last_twice_as_long_at_8_khz(client):
    at_16 = await recognise(client, LOUD + QUIET + QUIET)
    at_8 = await recognise(client, LOUD + QUIET + QUIET, sample_rate=8000)
    ends = [e[-2]["payload"]["output"]["sentence"]["end_time"] for e in (at_16, at_8)]
    assert ends[1] == pytest.approx(2 * ends[0], abs=100)


@pytest.mark.parametrize(("silence", "sentences"), [(200, 2), (800, 1), (6000, 1)])
async def test_max_sentence_silence_ends_sentences(client, silence, sentences):
    half = QUIET[: len(QUIET) // 2]
    events = await recognise(client, LOUD + half + LOUD, max_sentence_silence=silence)
    assert len(texts(events)) == sentences


async def test_events_are_single_compact_text_frames(served):
    async with connected(served) as client:
        await client.say(run_task(), SPEECH, finish_task())
        frame = None
        while frame is None or '"task-finished"' not in frame:
            frame = await client.socket.recv(decode=None)
            assert isinstance(frame, str)
            assert ": " not in frame
            assert "\\u" not in frame


async def raw_connection(served, query=""):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        f"GET /api-ws/v1/inference{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return await reader.readuntil(b"\r\n\r\n"), reader, writer


async def test_the_server_never_pings_even_if_uvicorn_is_told_to():
    async with serving(uvicorn={"ws_ping_interval": 0.05, "ws_ping_timeout": 0.05}) as served:
        head, reader, writer = await raw_connection(served)
        assert head.startswith(b"HTTP/1.1 101 ")
        with pytest.raises(TimeoutError):
            async with within(0.3):
                await reader.read(1)
        writer.close()


async def test_neither_a_key_nor_a_transcript_reaches_a_log(caplog):
    async with serving(uvicorn={"access_log": True}, log_level="debug") as served:
        for logger in ("uvicorn", "uvicorn.error"):  # other servers may have set the latter
            caplog.set_level("INFO", logger)
        caplog.set_level("DEBUG", "asr_server")
        async with connected(served, "/api-ws/v1/inference?a=1&api_key=sk-secret") as client:
            finals = texts(await recognise(client))
    assert "a=1" in caplog.text
    assert "task = STREAMING" in caplog.text
    assert "sk-secret" not in caplog.text
    assert not any(character in caplog.text for text in finals for character in text)


# Limits -------------------------------------------------------------------------------------------


async def test_a_task_over_the_limit_is_refused_and_the_others_continue():
    async with serving(max_tasks=1) as served, connected(served) as first:
        await first.say(run_task())
        await first.event()
        async with connected(served) as second:
            await second.say(run_task())
            assert error(await second.until())[0] == "Throttling.RateQuota"
            assert await second.closed() == 1000
        await first.say(LOUD, finish_task())
        assert len(texts(await first.until("task-finished"))) == 1


async def test_a_connection_over_the_limit_is_answered_503_before_the_upgrade():
    async with serving(max_connections=1) as served:
        async with connected(served):
            with pytest.raises(websockets.InvalidStatus) as refusal:
                async with connected(served):
                    pass
            response = refusal.value.response
            assert response.status_code == 503
            assert json.loads(response.body)["code"] == "ServiceUnavailable"
        assert names(await recognise_once_accepted(served))[-1] == "task-finished"


async def recognise_once_accepted(served):
    """Recognise on the first connection that the server accepts."""
    async with within(5):
        while True:
            try:
                async with connected(served) as client:
                    return await recognise(client)
            except websockets.InvalidStatus:  # the server has yet to see the last disconnect
                await asyncio.sleep(0.01)


# Time ---------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_closed_with_1000():
    async with serving(connection_timeout_s=0.1) as served, connected(served) as client:
        assert await client.closed() == 1000


async def test_heartbeats_fill_silence_if_the_task_asked_for_them():
    async with serving(heartbeat_interval_s=0.1) as served, connected(served) as client:
        await client.say(run_task(heartbeat=True))
        await client.event()
        assert (await client.event())["payload"]["output"]["sentence"]["heartbeat"] is True
