"""Servers with one database share hotword lists and revoked tokens, and do without it."""

import asyncio
import contextlib
import re
import time

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.databases import Relay, vocabularies
from tests.support.processes import free_port, launched
from tests.support.serving import (
    LOUD,
    Served,
    connected,
    error,
    finish_task,
    http_client,
    names,
    run_task,
    serving,
    texts,
    within,
)

KEY, OTHER = "sk-0123456789abcdef", "sk-of-another-client"
BY_KEY = {"Authorization": f"Bearer {KEY}"}
LISTS = "/api/v1/services/audio/asr/customization"
MODEL = "paraformer-realtime-v2"
WORDS, OTHER_WORDS = ([{"text": text, "weight": 5}] for text in ("地悬皇", "地玄黄"))
UNAVAILABLE = "The hotword lists are unavailable, please try again later or go on without one."
QUICK = {"database_timeout_s": 0.5}


async def post(served, path, json=None):
    async with http_client(timeout=20, headers=BY_KEY) as client:
        answer = await client.post(served.http + path, json=json)
    return answer.status_code, answer.json()


async def act(served, action, **given):
    return await post(
        served, LISTS, {"model": "speech-biasing", "input": {"action": action, **given}}
    )


async def create(served, words=WORDS):
    given = {"target_model": MODEL, "prefix": "a", "vocabulary": words}
    status, body = await act(served, "create_vocabulary", **given)
    assert status == 200, body
    return body["output"]["vocabulary_id"]


async def new_token(served):
    return (await post(served, "/api/v1/tokens"))[1]["token"]


async def revoke(served, token):
    return await post(served, "/api/v1/tokens/revoke", {"token": token})


async def task(served, **parameters):
    """Return the events of a task of 2.4 s, which decodes to 天地玄黄."""
    async with connected(served, additional_headers=BY_KEY) as client:
        await client.say(run_task(**parameters), LOUD * 2, finish_task())
        return await client.until("task-finished")


async def text(served, **parameters):
    return "".join(texts(await task(served, **parameters)))


def with_token(served, token):
    return connected(served, f"/api-ws/v1/inference?api_key={token}")


async def refuses(served, token):
    try:
        async with with_token(served, token):
            return False
    except InvalidStatus as refusal:
        return refusal.response.status_code == 401


async def until(condition, seconds=5):
    """Return after how many seconds a condition holds."""
    began = time.monotonic()
    async with within(seconds):
        while True:
            if await condition():
                return time.monotonic() - began
            await asyncio.sleep(0.01)


async def database_is(served, state):
    async with http_client() as client:
        health = (await client.get(served.http + "/healthz")).json()
        metrics = (await client.get(served.http + "/metrics")).text
        assert (await client.get(served.http + "/readyz")).status_code == 200
    up = re.search(r"^asr_database_up (.*)$", metrics, re.MULTILINE)
    return health["database"] == state and float(up[1]) == (state == "ok")


async def becomes(served, state, seconds=10):
    return await until(lambda: database_is(served, state), seconds)


async def assert_only_lists_fail(served, id):
    began = time.monotonic()
    assert error(await task(served, vocabulary_id=id)) == ("ServiceUnavailable", UNAVAILABLE)
    assert time.monotonic() - began < 4
    assert len(await text(served)) >= 3


@pytest.fixture
async def pair(database_url):
    """Two servers with one database."""
    settings = {"api_keys": (KEY, OTHER), "database_url": database_url}
    async with serving(**settings) as one, serving(**settings) as other:
        yield one, other


# Two servers --------------------------------------------------------------------------------------


async def test_a_token_revoked_on_one_server_is_refused_by_all_within_a_second(pair):
    one, other = pair
    token, kept = await new_token(one), await new_token(one)
    async with with_token(other, token) as client, with_token(other, kept) as second:
        await client.say(run_task("begun before"), LOUD)
        assert (await client.event())["header"]["event"] == "task-started"
        assert (await revoke(one, token))[0] == 200
        assert await refuses(one, token)
        assert await until(lambda: refuses(other, token)) < 1
        await client.say(finish_task("begun before"))
        assert names(await client.until("task-finished"))[-1] == "task-finished"
        await client.say(run_task("begun after"))
        code, message = error(await client.until("task-started"))
        assert (code, message) == ("InvalidApiKey", "The temporary token was revoked.")
        await second.say(run_task())
        assert names([await second.event()]) == ["task-started"]


async def test_a_list_changed_on_one_server_is_used_by_the_next_task_of_another(pair):
    one, other = pair
    plain = await text(other)
    id = await create(one)
    favoured = await text(other, vocabulary_id=id)
    assert (plain[1:3], favoured[1:3]) == ("地玄", "地悬")
    await act(one, "update_vocabulary", vocabulary_id=id, vocabulary=OTHER_WORDS)
    assert await text(other, vocabulary_id=id) == plain
    await act(other, "update_vocabulary", vocabulary_id=id, vocabulary=WORDS)
    assert await text(one, vocabulary_id=id) == favoured
    await act(one, "delete_vocabulary", vocabulary_id=id)
    assert await text(other, vocabulary_id=id) == plain
    assert (await act(other, "query_vocabulary", vocabulary_id=id))[0] == 404


async def test_two_servers_that_revoke_one_token_at_once_both_succeed(pair):
    token = await new_token(pair[0])
    answers = await asyncio.gather(*(revoke(server, token) for server in pair * 3))
    assert [status for status, _ in answers] == [200] * 6


@pytest.mark.slow
async def test_two_processes_that_start_at_once_share_lists_and_revoked_tokens(postgres_url):
    ports = free_port(), free_port()
    settings = {"ASR_API_KEYS": KEY, "ASR_DATABASE_URL": postgres_url}
    with contextlib.ExitStack() as stack:
        begin = [
            asyncio.to_thread(stack.enter_context, launched("main.py", port=port, **settings))
            for port in ports
        ]
        running = await asyncio.gather(*begin)
        one, other = (Served(port, None) for port in ports)
        id = await create(one)
        assert await text(other, vocabulary_id=id) != await text(other)
        for _ in range(5):
            token = await new_token(one)
            await revoke(one, token)
            assert await until(lambda token=token: refuses(other, token)) < 1
        assert not any("database" in process.said for process in running)


# Without the database -----------------------------------------------------------------------------


async def test_a_server_starts_without_its_database_and_uses_it_once_it_is_there(
    postgres, postgres_url, caplog
):
    with postgres.stopped():
        async with serving(api_keys=(KEY,), database_url=postgres_url, **QUICK) as served:
            await becomes(served, "unavailable")
            await assert_only_lists_fail(served, "vocab-a-0")
            assert "the database fails: connection" in caplog.text
            postgres.start()
            await becomes(served, "ok")
            id = await create(served)
            assert "地悬" in await text(served, vocabulary_id=id)
            postgres.stop()
    assert "Traceback" not in caplog.text


async def test_a_database_that_is_lost_costs_tasks_with_lists_only_and_comes_back(
    postgres, postgres_url, caplog
):
    caplog.set_level("INFO", "asr_server")
    async with serving(api_keys=(KEY,), database_url=postgres_url, **QUICK) as served:
        id, revoked, token = await create(served), await new_token(served), await new_token(served)
        await revoke(served, revoked)
        with postgres.stopped():
            await becomes(served, "unavailable")
            await assert_only_lists_fail(served, id)
            status, body = await revoke(served, token)
            assert (status, body["code"]) == (503, "ServiceUnavailable")
            assert body["message"].startswith("The token is not revoked: the database is")
            assert (await refuses(served, revoked), await refuses(served, token)) == (True, False)
        await becomes(served, "ok")
        assert "地悬" in await text(served, vocabulary_id=id)
        assert (await revoke(served, token))[0] == 200
        assert await refuses(served, token)
    assert "the database is unavailable: tasks with a hotword list fail" in caplog.text
    assert "the database is available again" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_database_that_accepts_connections_and_never_answers_delays_lists_only(
    postgres, postgres_url, caplog
):
    async with serving(api_keys=(KEY,), database_url=postgres_url, **QUICK) as served:
        id = await create(served)
        with postgres.frozen():
            await assert_only_lists_fail(served, id)
            await becomes(served, "unavailable")
            await assert_only_lists_fail(served, id)
        await becomes(served, "ok")
        assert "地悬" in await text(served, vocabulary_id=id)
    assert "the database fails: no answer within 0.5 s" in caplog.text
    assert "Traceback" not in caplog.text


async def test_calls_on_dead_connections_end_and_the_next_ones_reach_the_database_at_its_new_place(
    postgres, postgres_url, caplog
):
    async with Relay(postgres.directory / ".s.PGSQL.5432").running() as relay:
        url = re.sub("host=[^&]*&", "", postgres_url.replace("@/", f"@127.0.0.1:{relay.port}/"))
        async with serving(api_keys=(KEY,), database_url=url, **QUICK) as served:
            id = await create(served)
            await asyncio.gather(*(act(served, "list_vocabulary") for _ in range(8)))
            await relay.cut()
            calls = (act(served, "list_vocabulary") for _ in range(8))
            assert {status for status, _ in await asyncio.gather(*calls)} <= {200, 503}
            await becomes(served, "ok")
            assert "地悬" in await text(served, vocabulary_id=id)
    assert "Traceback" not in caplog.text


async def test_a_statement_that_takes_too_long_is_cancelled_and_named(
    postgres, postgres_url, caplog
):
    import psycopg

    async with serving(api_keys=(KEY,), database_url=postgres_url, **QUICK) as served:
        id = await create(served)
        with psycopg.connect(postgres_url) as other:
            other.execute("LOCK TABLE hotword_vocabularies")
            await assert_only_lists_fail(served, id)
        assert "canceling statement due to statement timeout" in caplog.text
        assert "地悬" in await text(served, vocabulary_id=id)


async def test_many_calls_at_once_take_few_connections(postgres, postgres_url):
    async with serving(api_keys=(KEY,), database_url=postgres_url) as served:
        await create(served)
        listed = asyncio.gather(*(act(served, "list_vocabulary") for _ in range(40)))
        assert {status for status, _ in await listed} == {200}
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'asr-server'"
        assert 1 <= postgres.execute(count) <= 4


def test_a_role_that_may_create_nothing_suffices_where_the_tables_exist(postgres, postgres_url):
    owner = vocabularies(postgres_url)
    owner.create("0" * 16, "a", MODEL, WORDS)
    owner.database.close()
    schema = postgres_url.rpartition("%3D")[2]
    postgres.execute(
        "CREATE ROLE asr LOGIN",
        f"GRANT USAGE ON SCHEMA {schema} TO asr",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO asr",
    )
    limited = vocabularies(postgres_url.replace("postgres@", "asr@"))
    assert len(limited.list("0" * 16, None, 0, 10)) == 1
    limited.database.close()
    postgres.execute("DROP OWNED BY asr", "DROP ROLE asr")
