"""Sockets that bring no request are closed in time, and never keep others away."""

import asyncio
import contextlib
import json
import logging
import sys
from contextlib import AsyncExitStack

import pytest

from asr_server.observability.logs import OncePerMinute
from asr_server.process import descriptors
from tests.support.attacks.flood import endless_post, frame, handshake, tcp, upgraded
from tests.support.processes import free_port, launched
from tests.support.serving import (
    connected,
    finish_task,
    http_client,
    names,
    run_task,
    serving,
    within,
)

QUICK = {"request_head_timeout_s": 0.2, "request_body_timeout_s": 0.2}


def root(served) -> str:
    return f"ws://127.0.0.1:{served.port}"


async def healthy(served) -> bool:
    async with http_client() as http:
        return (await http.get(f"{served.http}/healthz")).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"], ids=["", "half"])
async def test_a_head_that_does_not_end_closes_the_socket(sent):
    async with serving(**QUICK) as served, tcp(root(served)) as (reader, writer):
        writer.write(sent)
        async with within(3):
            assert await reader.read() == b""


async def test_a_head_sent_byte_by_byte_is_late_all_the_same():
    async with serving(**QUICK) as served, tcp(root(served)) as (reader, writer):
        closed = asyncio.create_task(reader.read())
        async with within(3):
            while not closed.done():
                writer.write(b"G")
                await asyncio.sleep(0.02)
        with contextlib.suppress(ConnectionError):
            assert await closed == b""


async def test_a_second_head_on_a_connection_is_late_too():
    async with serving(**QUICK) as served, tcp(root(served)) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        async with within(3):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"GET /healthz HTTP/1.1\r\n")
            assert await reader.read() == b""


async def test_a_body_that_does_not_end_is_answered_with_408(caplog):
    async with serving(**QUICK) as served, tcp(root(served)) as (reader, writer):
        writer.write(endless_post())
        async with within(3):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["message"] == (
        "The body of the request did not arrive within 0.2 seconds."
    )


async def test_a_connection_without_a_task_is_not_taken_for_a_late_request():
    async with serving(**QUICK) as served, connected(served) as client:
        await asyncio.sleep(1)
        await client.say(run_task(), bytes(3200), finish_task())
        assert names(await client.until("task-finished"))[-1] == "task-finished"


async def test_silent_sockets_give_way_to_new_ones(monkeypatch):
    monkeypatch.setattr(descriptors, "max_sockets", lambda _: 20)
    async with serving() as served, AsyncExitStack() as stack, connected(served) as client:
        silent = [await stack.enter_async_context(tcp(root(served))) for _ in range(60)]
        assert await healthy(served)
        async with connected(served) as another:
            await another.say(run_task("another"), bytes(3200), finish_task("another"))
            assert names(await another.until("task-finished"))[-1] == "task-finished"
        await client.say(run_task(), bytes(3200), finish_task())
        assert names(await client.until("task-finished"))[-1] == "task-finished"
        async with within(3):
            with contextlib.suppress(ConnectionError):
                assert await silent[0][0].read() == b""


async def test_where_every_socket_is_in_use_a_new_one_gets_503(monkeypatch):
    monkeypatch.setattr(descriptors, "max_sockets", lambda _: 3)
    async with serving() as served, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(served))
        async with tcp(root(served)) as (reader, writer):
            writer.write(handshake())
            assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")


async def test_a_client_that_does_not_read_the_end_of_its_connection_is_cut():
    async with serving(close_timeout_s=0.2, max_messages_per_second=1) as served:
        async with upgraded(root(served)) as (reader, writer):
            reader._transport.pause_reading()
            writer.write(frame(2) * 3000)
            async with within(3):
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(frame(2))
                        await writer.drain()
                        await asyncio.sleep(0.05)


# File descriptors ---------------------------------------------------------------------------------


def test_a_record_is_logged_once_a_minute_with_the_number_left_out(caplog, monkeypatch):
    now = 100.0
    monkeypatch.setattr("asr_server.observability.logs.time.monotonic", lambda: now)
    seldom = OncePerMinute(logging.getLogger("test"), logging.WARNING)
    for _ in range(5):
        seldom("no %s", "descriptor")
    now = 161.0
    seldom("no %s", "descriptor")
    first, second = [r for r in caplog.records if r.message == "no descriptor"]
    assert not hasattr(first, "left_out")
    assert second.left_out == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_limit_of_descriptors_is_raised_and_a_low_one_is_logged(caplog):
    import resource

    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        allowed = descriptors.max_sockets(100)
        assert allowed == 200
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= soft
        assert caplog.records == []
        assert descriptors.max_sockets(10_000_000_000) < 20_000_000_000
        (record,) = caplog.records
        assert "ASR_MAX_CONNECTIONS" in record.message
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prlimit")
async def test_without_descriptors_the_server_logs_one_line_and_recovers():
    import resource

    port = free_port()
    with launched("main.py", port=port, ASR_REQUEST_HEAD_TIMEOUT_S="0.5") as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (60, 60))
        async with AsyncExitStack() as stack:
            for _ in range(200):
                await stack.enter_async_context(tcp(f"ws://127.0.0.1:{port}"))
            async with http_client(timeout=20) as http:
                answer = await http.get(f"http://127.0.0.1:{port}/healthz")
                assert answer.status_code == 200
        server.stop()
    assert server.said.count("no connection is accepted") == 1
    assert "Traceback" not in server.said
