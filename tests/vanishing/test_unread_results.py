"""A client that reads no results blocks neither the server nor its memory."""

import asyncio

import numpy as np
import pytest

from asr_server.access import ANONYMOUS
from asr_server.asr.engine import Engine
from asr_server.asr.types import StreamOptions
from asr_server.settings import Settings
from asr_server.websocket.connection import Connection
from asr_server.websocket.limits import ConcurrencyLimit
from asr_server.websocket.server_context import ServerContext
from tests.support.databases import vocabularies
from tests.support.fake_backend import FakeBackend
from tests.support.scripted_socket import Socket
from tests.support.serving import LOUD, QUIET, finish_task, run_task, texts, within


@pytest.fixture
async def engine():
    engine = Engine(FakeBackend, Settings())
    await engine.start()
    yield engine
    await engine.stop()


async def serve(engine, socket: Socket, **settings) -> None:
    server = ServerContext(
        engine,
        Settings(**settings),
        vocabularies(),
        ConcurrencyLimit(0),
    )
    async with within(10):
        await Connection(socket, ANONYMOUS, server).run()
    assert engine.open_streams == 0


async def test_unread_interims_are_replaced_and_finals_kept(engine):
    socket = Socket()
    socket.send(run_task(), *[LOUD + QUIET] * 30, finish_task())
    serving = asyncio.create_task(serve(engine, socket, result_interval_ms=0))
    await socket.all_read()
    async with within(5):
        while engine.open_streams:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert socket.sent == []
    socket.readable.set()
    await socket.sent_event("task-finished")
    socket.abort()
    await serving
    assert len(texts(socket.sent)) == 30
    assert len(socket.sent) == 2 + 2 * 30  # a sentence_begin and a final each


async def test_a_client_with_too_many_unread_results_is_disconnected(engine):
    socket = Socket()
    socket.send(run_task(), *[LOUD + QUIET] * 30)
    await serve(engine, socket, max_unread_results=10)
    assert socket.aborted
    assert socket.sent == []


async def test_a_client_that_does_not_read_its_task_failed_is_disconnected(engine):
    socket = Socket()
    socket.send("nonsense")
    await serve(engine, socket, close_timeout_s=0.05)
    assert socket.aborted
    assert socket.closed is None


async def test_nothing_is_read_while_the_stream_is_being_opened(engine, monkeypatch):
    opening, may_open = asyncio.Event(), asyncio.Event()

    async def prepare(hotwords):
        opening.set()
        await may_open.wait()

    monkeypatch.setattr(engine, "prepare", prepare)
    socket = Socket()
    socket.readable.set()
    socket.send(run_task(), LOUD, finish_task())
    serving = asyncio.create_task(serve(engine, socket))
    async with within(5):
        await opening.wait()
    assert socket.incoming.qsize() == 2
    may_open.set()
    await socket.sent_event("task-finished")
    socket.abort()
    await serving


async def test_a_reader_that_waits_for_room_goes_on_when_the_stream_is_closed(engine):
    stream = engine.open(StreamOptions())
    stream.push(np.zeros(160_000, dtype=np.float32))
    waiting = asyncio.create_task(stream.room(0))
    await asyncio.sleep(0)
    stream.close()
    async with within(1):
        await waiting


async def test_a_bug_of_the_server_is_reported_without_details(engine, monkeypatch, caplog):
    socket = Socket()
    socket.readable.set()
    socket.send(run_task())
    transcript = "secret details"

    def crash(*_):
        raise ZeroDivisionError(transcript)

    monkeypatch.setattr("asr_server.websocket.connection.AudioInput.open", crash)
    await serve(engine, socket)
    (header,) = [message["header"] for message in socket.sent]
    assert header["error_code"] == "InternalError"
    assert "secret" not in header["error_message"]
    assert socket.closed == (1011, "InternalError")
    (record,) = [r for r in caplog.records if r.message == "connection failed"]
    assert record.fault == "ZeroDivisionError"
    assert "crash" in record.stack
    assert transcript not in str(vars(record))  # an exception may quote a transcript


async def test_a_bug_in_a_timer_tick_closes_the_connection(engine, monkeypatch):
    def crash(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("asr_server.state.session.Session.receive", crash)
    socket = Socket()
    socket.readable.set()
    await serve(engine, socket, connection_timeout_s=0.01)
    assert socket.closed == (1011, "InternalError")
