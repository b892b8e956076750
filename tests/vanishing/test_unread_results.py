"""A client that does not take its results keeps the server neither waiting nor growing."""

import asyncio

import pytest
from asr_server.websocket.hotwords import Hotwords

from asr_server.access import EVERYBODY
from asr_server.asr.load import build_engine
from asr_server.settings import Settings
from asr_server.vocabularies import Vocabularies
from asr_server.websocket.connection import Connection, ServerContext
from asr_server.websocket.limits import ConcurrencyLimit
from tests.support.scripted_socket import Socket
from tests.support.serving import LOUD, QUIET, finish_task, run_task, texts, within


@pytest.fixture
async def engine():
    engine = build_engine(Settings(), "fake")
    await engine.start()
    yield engine
    await engine.stop()


async def serve(engine, socket: Socket, **settings) -> None:
    async with within(10):
        house = ServerContext(
            engine,
            Settings(**settings),
            ConcurrencyLimit(0),
            Hotwords(Vocabularies(Settings(database_url="sqlite://"))),
        )
        await Connection(socket, EVERYBODY, house).run()
    assert engine.open_streams == 0


async def test_interims_nobody_reads_are_replaced_and_finals_kept(engine):
    socket = Socket()
    socket.say(run_task(), *[LOUD + QUIET] * 30, finish_task())
    serving = asyncio.create_task(serve(engine, socket, result_interval_ms=0))
    async with within(5):
        while socket.incoming.qsize():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # for the recogniser to hear the rest
    socket.readable.set()
    async with within(5):
        while not socket.sent or socket.sent[-1]["header"]["event"] != "task-finished":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    socket.cut()
    await serving
    assert len(texts(socket.sent)) == 30
    assert len(socket.sent) < 2 * 30 + 10  # a beginning and a final each, and what came late


async def test_a_client_that_misses_too_much_is_cut(engine):
    socket = Socket()
    socket.say(run_task(), *[LOUD + QUIET] * 30)
    await serve(engine, socket, max_unread_results=10)
    assert socket.lost
    assert socket.sent == []


async def test_a_client_that_does_not_take_its_refusal_is_cut(engine):
    socket = Socket()
    socket.say("nonsense")
    await serve(engine, socket, close_timeout_s=0.05)
    assert socket.lost
    assert socket.closed is None


async def test_a_failure_of_ours_is_told_without_details(engine, monkeypatch, caplog):
    socket = Socket()
    socket.readable.set()
    socket.say(run_task())

    said = "secret details"

    def fall_over(*_):
        raise ZeroDivisionError(said)

    monkeypatch.setattr("asr_server.websocket.connection.AudioInput.open", fall_over)
    await serve(engine, socket)
    (header,) = [message["header"] for message in socket.sent]
    assert header["error_code"] == "InternalError"
    assert "secret" not in header["error_message"]
    assert socket.closed == (1011, "InternalError")
    (record,) = [r for r in caplog.records if r.message == "the connection failed"]
    assert record.fault == "ZeroDivisionError"
    assert "fall_over" in record.stack
    assert said not in str(vars(record))  # an exception may quote what was said
