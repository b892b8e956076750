"""Whoever floods a connection is disconnected with a reason, and holds up nobody meanwhile."""

import asyncio
import contextlib
import json
import struct

import pytest

from asr_server.websocket import uvicorn_protocols
from tests.support.attacks import flood
from tests.support.attacks.flood import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame, upgraded
from tests.support.serving import (
    LOUD,
    QUIET,
    connected,
    finish_task,
    names,
    run_task,
    serving,
    texts,
    within,
)

BUDGET = {"max_messages_per_second": 20}
"""A burst of 400 frames."""

FLOODS = {
    "empty": frame(BINARY),
    "one byte": frame(BINARY, b"\0"),
    "empty text": frame(TEXT, flood.CONTINUE_TASK.encode()),
    "fragments": frame(CONTINUATION, final=False),
    "pings": frame(PING, bytes(125)),
}


def root(served) -> str:
    return f"ws://127.0.0.1:{served.port}"


async def frames_until_closed(reader) -> list[tuple[int, bytes]]:
    """Return opcode and payload of every frame of a server up to its close frame."""
    frames = []
    async with within(5):
        while not frames or frames[-1][0] != CLOSE:
            first, length = await reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack(">H", await reader.readexactly(2))
            frames.append((first & 0x0F, await reader.readexactly(length)))
    return frames


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("in_a_task", [False, True], ids=["without task", "in a task"])
async def test_a_flood_is_answered_by_1008_a_reason_and_one_line_in_the_log(
    kind, in_a_task, caplog
):
    async with serving(**BUDGET) as served, upgraded(root(served)) as (reader, writer):
        if in_a_task:
            writer.write(frame(TEXT, run_task().encode()))
        if kind == "fragments":
            writer.write(frame(BINARY, final=False))
        with contextlib.suppress(ConnectionError):
            writer.write(FLOODS[kind] * 3000)
        frames = await frames_until_closed(reader)
        assert served.engine.open_streams == 0
    code, reason = struct.unpack(">H", frames[-1][1][:2])[0], frames[-1][1][2:].decode()
    assert (code, reason) == (1008, "More than 20 messages a second that bring little audio.")
    events = [json.loads(payload)["header"] for opcode, payload in frames if opcode == TEXT]
    assert (events[-1]["event"], events[-1]["error_code"]) == (
        "task-failed",
        "Throttling.RateQuota",
    )
    (record,) = [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]
    assert (record.levelname, record.reason, record.address) == ("WARNING", reason, "127.0.0.1")


async def test_the_streams_beside_floods_lose_nothing():
    attacks = [
        flood.empty_messages,
        flood.one_byte_messages,
        flood.endless_fragments,
        flood.small_commands,
        flood.unread_pongs,
        flood.large_messages,
    ]
    async with serving() as served, connected(served) as client:
        attackers = [asyncio.create_task(attack(root(served))) for attack in attacks]
        await client.say(run_task())
        for _ in range(3):
            await client.stream(LOUD + QUIET)
            await asyncio.sleep(0.1)
        await client.say(finish_task())
        assert len(texts(await client.until("task-finished"))) == 3
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)


async def test_each_turn_of_the_event_loop_parses_few_frames_of_a_flood(monkeypatch):
    in_one_go = []
    parse = uvicorn_protocols.WebSocketProtocol.handle_events

    def handle_events(self):
        in_one_go.append(len(self.conn.events))
        parse(self)

    monkeypatch.setattr(uvicorn_protocols.WebSocketProtocol, "handle_events", handle_events)
    async with serving() as served, upgraded(root(served)) as (reader, writer):
        writer.write(frame(BINARY) * 20_000)
        await frames_until_closed(reader)
    assert max(in_one_go) <= 32
    assert sum(in_one_go) <= 4100  # the burst, and what was refilled meanwhile


async def test_a_turn_of_the_event_loop_ends_although_more_connections_wait():
    queue, turns, calls = uvicorn_protocols.ParseQueue(), 0, 0
    loop = asyncio.get_running_loop()

    def parse() -> None:
        nonlocal calls
        calls += 1
        until = loop.time() + 0.002
        while loop.time() < until:
            pass

    for _ in range(30):
        queue.add(parse)
    while calls < 30:
        before = calls
        await asyncio.sleep(0)
        turns += 1
        assert calls - before <= 3
    assert turns >= 10


async def test_a_bug_in_one_parser_stops_no_other():
    queue, done = uvicorn_protocols.ParseQueue(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    queue.add(lambda: 1 / 0)
    queue.add(done.set)
    async with within(1):
        await done.wait()


# Pings --------------------------------------------------------------------------------------------


async def test_pings_are_answered_while_they_are_read():
    async with serving() as served, connected(served) as client:
        for _ in range(20):
            async with within(1):
                await (await client.socket.ping())


async def test_pongs_that_nobody_reads_do_not_pile_up(monkeypatch):
    made = []
    connection_made = uvicorn_protocols.WebSocketProtocol.connection_made

    def remember(self, transport):
        made.append(transport)
        connection_made(self, transport)

    monkeypatch.setattr(uvicorn_protocols.WebSocketProtocol, "connection_made", remember)
    async with (
        serving(max_messages_per_second=0, connection_timeout_s=1) as served,
        upgraded(root(served)) as (reader, writer),
    ):
        reader._transport.pause_reading()
        largest = 0
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with within(1.5):
                while True:
                    writer.write(frame(PING, bytes(125)) * 500)
                    await writer.drain()
                    largest = max(largest, made[0].get_write_buffer_size())
    assert 0 < largest < 100_000


# Size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 3], ids=["one frame", "three fragments"])
@pytest.mark.parametrize("in_a_task", [False, True], ids=["without task", "in a task"])
async def test_a_message_just_over_the_limit_is_refused_with_1009_and_a_reason(
    cut, in_a_task, caplog
):
    limit = 64 * 1024
    async with serving(max_message_bytes=limit) as served, connected(served) as client:
        if in_a_task:
            await client.say(run_task())
            await client.until("task-started")
        pieces = [bytes(limit // cut + 1)] * cut
        await client.socket.send(iter(pieces) if cut > 1 else pieces[0])
        assert await client.closed() == 1009
        assert client.socket.close_reason == f"A message is longer than {limit} bytes."
    (record,) = [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]
    assert (record.getMessage(), record.reason) == ("task failed", client.socket.close_reason)


async def test_a_message_of_exactly_the_limit_is_audio():
    limit = 64 * 1024
    async with serving(max_message_bytes=limit) as served, connected(served) as client:
        await client.say(run_task(), bytes(limit), finish_task())
        assert names(await client.until("task-finished"))[-1] == "task-finished"


# Slots --------------------------------------------------------------------------------------------


async def test_continue_task_and_empty_messages_keep_no_slot():
    async with serving(input_timeout_s=0.3) as served, connected(served) as client:
        await client.say(run_task(heartbeat=True))
        await client.until("task-started")
        while served.engine.open_streams:
            with contextlib.suppress(Exception):
                await client.say(flood.CONTINUE_TASK, b"")
            await asyncio.sleep(0.02)
        assert (await client.until())[-1]["header"]["error_code"] == "CLIENT_ERROR"


async def test_silent_audio_keeps_a_slot_with_heartbeat():
    async with serving(input_timeout_s=0.3, response_timeout_s=0.2) as served:
        async with connected(served) as client:
            await client.say(run_task(heartbeat=True))
            for _ in range(10):
                await client.say(QUIET[:3200])
                await asyncio.sleep(0.1)
            await client.say(finish_task())
            assert names(await client.until("task-finished"))[-1] == "task-finished"


async def test_one_address_holds_no_more_than_its_share_of_the_slots():
    async with serving(max_tasks_per_address=1) as served, connected(served) as first:
        await first.say(run_task())
        await first.until("task-started")
        async with connected(served) as second:
            await second.say(run_task())
            failed = (await second.until())[-1]["header"]
            assert failed["error_code"] == "Throttling.RateQuota"
        await first.say(LOUD, finish_task())
        await first.until("task-finished")
        await first.say(run_task("next"))
        assert names(await first.until("task-started")) == ["task-started"]


async def test_a_task_ends_once_it_is_longer_than_the_setting_allows():
    async with serving(max_task_s=0.3) as served, connected(served) as client:
        await client.say(run_task())
        async with within(5):
            sender = asyncio.create_task(client.stream(QUIET * 100, frame=320))
            failed = (await client.until("task-failed"))[-1]["header"]
            sender.cancel()
        assert failed["error_message"] == "The task is longer than 0.3 seconds."
