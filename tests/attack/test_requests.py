"""A broken request gets an error that names its fault, and is no fault of the server."""

import asyncio
import json
import logging
import time

import pytest

from asr_server.websocket import limits
from tests.support.attacks import requests
from tests.support.serving import (
    LOUD,
    connected,
    error,
    finish_task,
    http_client,
    names,
    run_task,
    serving,
    within,
)


@pytest.fixture
async def served(tmp_path, caplog):
    """A server that must not log an error."""
    database = f"sqlite:///{tmp_path}/lists.sqlite3"
    async with serving(database_url=database, max_vocabularies=100) as server:
        yield server
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


async def post(served, body, **options):
    content = body if isinstance(body, bytes) else json.dumps(body)
    async with http_client() as client:
        return await client.post(
            served.http + requests.CUSTOMIZATION,
            content=content,
            headers={**requests.JSON, **options},
        )


async def recognises(served):
    async with connected(served) as client:
        await client.say(run_task(), LOUD, finish_task())
        return names(await client.until("task-finished"))[-1] == "task-finished"


async def test_a_broken_parameter_fails_the_task_and_is_named(served):
    for parameter, frame in requests.invalid_runs().items():
        async with connected(served) as client:
            await client.say(frame)
            code, message = error(await client.until())
            assert code == "InvalidParameter"
            assert parameter in message
            assert await client.closed() == 1000
    assert await recognises(served)


async def test_a_text_frame_that_is_not_utf8_is_refused_with_its_reason(served):
    async with connected(served) as client:
        client.socket.transport.write(requests.invalid_text_frame())
        code, message = error(await client.until())
        assert code == "InvalidParameter"
        assert message == "Invalid payload data: the text frame is not UTF-8."
        assert await client.closed() == 1007


async def test_a_filter_that_is_no_object_is_refused_with_the_form(served):
    async with connected(served) as client:
        await client.say(run_task(special_word_filter="default"))
        code, message = error(await client.until())
        assert code == "InvalidParameter"
        assert "'payload.parameters.special_word_filter' is no JSON object like {" in message


async def test_a_filter_with_too_many_words_does_not_stop_the_event_loop(served):
    loop = asyncio.get_running_loop()
    slowest_s = 0.0
    async with connected(served) as client:
        await client.say(requests.invalid_runs()["payload.parameters.special_word_filter"])
        receiving = asyncio.create_task(client.until())
        while not receiving.done():
            before = loop.time()
            await asyncio.sleep(0)
            slowest_s = max(slowest_s, loop.time() - before)
        assert "50000 words; at most 1000" in error(await receiving)[1]
    assert slowest_s < 0.2


async def test_a_large_context_is_cut_and_the_task_goes_on(served):
    async with connected(served) as client:
        await client.say(run_task(), LOUD, *[requests.large_context()] * 3, LOUD, finish_task())
        assert names(await client.until("task-finished"))[-1] == "task-finished"


async def test_a_broken_body_is_refused_and_named(served):
    for parameter, body in requests.invalid_bodies().items():
        answer = await post(served, body)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter"), parameter
        if parameter != "input.vocabulary.0.weight":
            assert parameter in answer.json()["message"]
    listed = await post(served, requests.customization("list_vocabulary"))
    assert listed.json()["output"]["vocabulary_list"] == []


async def test_a_body_that_is_cut_off_is_no_error_of_the_server(served):
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(requests.cut_post())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await post(served, requests.customization("list_vocabulary"))).status_code == 200


async def test_a_body_of_another_type_is_refused_and_its_type_named(served):
    body = requests.create()
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await post(served, body, **{"Content-Type": kind})
        assert answer.status_code == 400
        assert answer.json()["message"] == f"Content-Type must be application/json, not {kind!r}."
    assert (
        await post(served, body, **{"Content-Type": "Application/JSON; charset=utf-8"})
    ).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_answered_404_in_dashscopes_form(served, method):
    async with http_client() as client:
        answer = await client.request(method, served.http + "/nowhere")
        status = await client.get(served.http + "/status/nowhere")
    for refused in (answer, status):
        assert refused.status_code == 404
        assert refused.json()["code"] == "NotFound"
        assert "/api-ws/v1/inference" in refused.json()["message"]
        assert refused.json()["request_id"] == refused.headers["x-request-id"]


async def test_another_method_is_answered_405_in_dashscopes_form(served):
    async with http_client() as client:
        answer = await client.get(served.http + requests.CUSTOMIZATION)
    assert (answer.status_code, answer.json()["code"]) == (405, "MethodNotAllowed")
    assert answer.headers["allow"] == "POST"


ATTACKS = (
    requests.broken_parameters,
    requests.broken_text,
    requests.broken_bodies,
    requests.guessed_keys,
    requests.foreign_pages,
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_a_client_that_behaves_is_served_beside_the_attack(served, attack):
    attacking = asyncio.create_task(attack(f"ws://127.0.0.1:{served.port}"))
    async with within(10):
        for _ in range(3):
            assert await recognises(served)
    assert not attacking.done()
    attacking.cancel()
    await asyncio.gather(attacking, return_exceptions=True)


# Keys ---------------------------------------------------------------------------------------------

KEY = "sk-0123456789abcdef"


async def test_guessed_keys_are_delayed_and_leave_one_line_and_a_right_key_is_not_delayed(
    caplog, monkeypatch
):
    monkeypatch.setattr(limits, "LONGEST_DELAY_S", 1.0)
    async with serving(api_keys=(KEY,)) as served:
        attacking = asyncio.create_task(requests.guessed_keys(f"ws://127.0.0.1:{served.port}"))
        async with http_client(base_url=served.http) as client:
            while True:
                began = time.monotonic()
                headers = {"Authorization": "Bearer guess-0000000000"}
                refused = await client.post("/api/v1/tokens", headers=headers)
                assert refused.status_code == 401
                if time.monotonic() - began > 0.9:
                    break
            began = time.monotonic()
            headers = {"Authorization": f"Bearer {KEY}"}
            assert (await client.post("/api/v1/tokens", headers=headers)).status_code == 200
            assert time.monotonic() - began < 0.9
        attacking.cancel()
        await asyncio.gather(attacking, return_exceptions=True)
    lines = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert [line.getMessage() for line in lines] == ["requests refused"]
    assert lines[0].most_from == "127.0.0.1"
