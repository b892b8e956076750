"""The handshake: which clients are accepted, and how the others are refused."""

import asyncio
import json
import logging
import time

import pytest
import websockets

from tests.support.serving import (
    LOUD,
    connected,
    error,
    finish_task,
    http_client,
    names,
    run_task,
    serving,
)

KEY, OTHER = "sk-let-me-in-please", "sk-of-another-client"


async def refusal(served, path="", **headers):
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with connected(served, path, additional_headers=headers):
            pass
    return caught.value.response


@pytest.fixture
async def guarded():
    async with serving(api_keys=(KEY, OTHER)) as served:
        yield served


@pytest.mark.parametrize("value", [f"Bearer {KEY}", f"bearer {KEY}", KEY])
async def test_a_key_opens_the_server(guarded, value):
    async with connected(guarded, additional_headers={"Authorization": value}) as client:
        await client.say(run_task())
        assert names([await client.event()]) == ["task-started"]


async def test_a_browser_may_put_the_key_into_the_url(guarded):
    async with connected(guarded, f"/api-ws/v1/inference/?api_key={KEY}") as client:
        await client.say(run_task())
        assert names([await client.event()]) == ["task-started"]


async def test_a_wrong_key_is_refused_as_by_the_real_gateway(guarded):
    answer = await refusal(guarded, Authorization="Bearer sk-guess")
    assert (answer.status_code, answer.reason_phrase) == (401, "Unauthorized")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == "114"  # as in a capture
    body = json.loads(answer.body)
    assert body["code"] == "InvalidApiKey"
    assert body["message"] == "Invalid API-key provided."
    assert body["request_id"] == answer.headers["x-request-id"]


async def test_a_missing_key_is_refused_with_its_own_message(guarded):
    answer = await refusal(guarded)
    assert answer.status_code == 401
    assert json.loads(answer.body)["message"] == "No API-key provided."


async def test_an_unknown_path_is_answered_404_and_not_as_a_wrong_key(guarded):
    answer = await refusal(guarded, "/nowhere", Authorization=KEY)
    assert answer.status_code == 404
    body = json.loads(answer.body)
    assert body["code"] == "NotFound"
    assert "/api-ws/v1/inference" in body["message"]
    assert body["request_id"] == answer.headers["x-request-id"]


async def test_refused_clients_cannot_fill_the_log(guarded, caplog):
    for _ in range(3):
        await refusal(guarded)
    await refusal(guarded, "/nowhere")
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert lines == ["requests refused"]


async def test_a_token_opens_no_task_once_it_has_expired(guarded):
    async with http_client(base_url=guarded.http) as http:
        headers = {"Authorization": KEY}
        issued = await http.post("/api/v1/tokens?expire_in_seconds=2", headers=headers)
    token = issued.json()
    async with connected(guarded, f"/api-ws/v1/inference?api_key={token['token']}") as client:
        await client.say(run_task("before"))
        assert names([await client.event()]) == ["task-started"]
        while time.time() < token["expires_at"]:
            await client.say(LOUD)
            await asyncio.sleep(0.1)
        await client.say(finish_task("before"))
        assert names(await client.until("task-finished"))[-1] == "task-finished"
        await client.say(run_task("after"))
        assert error(await client.until()) == (
            "InvalidApiKey",
            "The temporary token has expired.",
        )


async def test_headers_of_dashscope_are_ignored(guarded):
    headers = {
        "Authorization": KEY,
        "X-DashScope-WorkSpace": "ws",
        "X-DashScope-DataInspection": "enable",
        "x-dashscope-sdk-client": "python-sdk/2.0.2/audio",
    }
    async with connected(guarded, additional_headers=headers) as client:
        await client.say(run_task())
        assert names([await client.event()]) == ["task-started"]


async def test_the_task_limit_counts_for_each_key():
    async with serving(api_keys=(KEY, OTHER), max_tasks_per_key=1) as served:
        mine, theirs = {"Authorization": KEY}, {"Authorization": OTHER}
        async with connected(served, additional_headers=mine) as first:
            await first.say(run_task())
            await first.event()
            async with connected(served, additional_headers=mine) as second:
                await second.say(run_task())
                assert error(await second.until())[0] == "Throttling.RateQuota"
            async with connected(served, additional_headers=theirs) as other:
                await other.say(run_task())
                assert names([await other.event()]) == ["task-started"]
            await first.say(LOUD, finish_task())
            await first.until("task-finished")
            await first.say(run_task("next"))
            assert names([await first.event()]) == ["task-started"]


async def test_a_refused_client_does_not_count_as_connected():
    async with serving(api_keys=(KEY,), max_connections=1) as served:
        for _ in range(3):
            assert (await refusal(served)).status_code == 401
        async with connected(served, additional_headers={"Authorization": KEY}):
            pass
