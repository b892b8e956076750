"""The log: one line per task with its figures, and never a transcript."""

import asyncio
import contextlib
import io
import json
import logging
import sqlite3
from urllib.parse import quote

import pytest
import websockets
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_server.observability import logs
from asr_server.settings import Settings
from tests.support.databases import vocabularies
from tests.support.fake_backend import TEXT, FakeBackend
from tests.support.loggers import separate_logging
from tests.support.processes import free_port, launched
from tests.support.serving import (
    LOUD,
    QUIET,
    Served,
    connected,
    finish_task,
    run_task,
    serving,
    texts,
)

KEY = "sk-very-secret-key"


@contextlib.contextmanager
def logging_as_the_server():
    """Yield the server's log and a function that configures it."""
    written = io.StringIO()

    def configure(**settings):
        logs.configure(Settings(**{"log_format": "json", "log_level": "debug", **settings}))
        logging.getLogger().handlers[0].setStream(written)

    with separate_logging():
        configure()
        yield written, configure


class Log:
    """Reads what was logged since the last read."""

    def __init__(self, written, configure):
        self._written = written
        self.configure = configure

    def text(self):
        text = self._written.getvalue()
        self._written.seek(0)
        self._written.truncate()
        return text

    def __call__(self):
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def log():
    with logging_as_the_server() as parts:
        yield Log(*parts)


def ends(records):
    """Return the lines at the end of tasks."""
    return [record for record in records if "outcome" in record]


async def ended(log, records=()):
    """Return the one line of a task once it is logged."""
    records = [*records]
    for _ in range(200):
        records += log()
        if ends(records):
            break
        await asyncio.sleep(0.01)
    (line,) = ends(records)
    return line


# The line at the end ------------------------------------------------------------------------------


async def test_a_finished_task_leaves_one_line_with_its_figures(log):
    async with serving() as served, connected(served) as client:
        await client.say(run_task("t-1", model="fun-asr-realtime"))
        await client.until("task-started")
        await client.stream(LOUD + QUIET * 2 + LOUD)
        await client.say(finish_task("t-1"))
        finals = texts(await client.until("task-finished"))
        line = await ended(log)
    expected = {
        "level": "info",
        "message": "task finished",
        "task_id": "t-1",
        "outcome": "finished",
        "model": "fun-asr-realtime",
        "format": "pcm",
        "sample_rate": 16_000,
        "audio_s": 4.0,
        "sentences": 2,
        "characters": sum(map(len, finals)),
    }
    assert {name: line[name] for name in expected} == expected
    assert 0 < line["duration_s"] < 10
    assert line["rtf"] == pytest.approx(line["duration_s"] / 4, abs=0.001)
    for latency in ("first_text_ms", "final_ms", "tail_ms"):
        assert 0 <= line[latency] < 5000
    assert "error" not in line


async def test_figures_that_a_task_lacks_are_left_out(log):
    async with serving() as served, connected(served) as client:
        await client.say(run_task(), QUIET, finish_task())
        await client.until("task-finished")
        line = await ended(log)
    assert (line["sentences"], line["characters"]) == (0, 0)
    assert not {"first_text_ms", "final_ms", "caller", "error"} & set(line)


async def test_a_failure_by_the_client_is_a_warning_with_its_code(log):
    async with serving(api_keys=(KEY,)) as served:
        async with connected(served, additional_headers={"Authorization": KEY}) as client:
            await client.say(run_task("t-2"), finish_task("t-2"))
            await client.until("task-failed")
            line = await ended(log)
    assert (line["level"], line["outcome"], line["error"]) == (
        "warning",
        "failed",
        "NO_VALID_AUDIO_ERROR",
    )
    assert line["task_id"] == "t-2"
    assert len(line["caller"]) == 16


async def test_a_refused_task_leaves_a_line_too(log):
    async with serving(max_tasks=1) as served, connected(served) as first:
        await first.say(run_task("first"))
        await first.until("task-started")
        async with connected(served) as second:
            await second.say(run_task("second"))
            await second.until("task-failed")
            line = await ended(log)
    assert (line["task_id"], line["level"]) == ("second", "warning")
    assert line["error"] == "Throttling.RateQuota"


async def test_a_disconnect_is_a_warning_and_no_failure(log):
    async with serving() as served:
        async with connected(served) as client:
            await client.say(run_task(), LOUD)
            await client.until("task-started")
        line = await ended(log)
    assert (line["level"], line["outcome"]) == ("warning", "disconnected")
    assert "error" not in line


async def test_a_failure_of_the_server_is_an_error(log, monkeypatch):
    def break_down(self, works):
        raise RuntimeError("device fault")

    monkeypatch.setattr(FakeBackend, "decode", break_down)
    async with serving() as served, connected(served) as client:
        await client.say(run_task(), LOUD)
        await client.until("task-failed")
        line = await ended(log)
    assert (line["level"], line["error"]) == ("error", "InternalError")


async def test_connections_are_logged_at_debug_only(log):
    for level, expected in (("debug", ["connection open", "connection closed"]), ("info", [])):
        log.configure(log_level=level)
        async with serving() as served, connected(served):
            pass
        ours = [
            r["message"] for r in log() if r["logger"] == "asr_server.websocket.connection_manager"
        ]
        assert ours == expected


def test_the_text_format_has_the_same_fields(log):
    log.configure(log_format="text")
    logging.getLogger("asr_server.x").info("task finished", extra={"audio_s": 1.5})
    logging.getLogger("uvicorn.error").warning("%s closed", "it", extra={"color_message": "x"})
    ours, uvicorns = log.text().splitlines()
    assert "task finished" in ours
    assert "audio_s=1.5" in ours
    assert "it closed" in uvicorns
    assert "color_message" not in uvicorns


# Never a transcript -------------------------------------------------------------------------------


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_shows_no_values(log, log_format):
    log.configure(log_format=log_format)

    def fail(transcript):
        raise ZeroDivisionError

    try:
        fail("天地" * 2)
    except ZeroDivisionError:
        logging.getLogger("asr_server.x").exception("it failed")
    text = log.text()
    assert "ZeroDivisionError" in text
    assert "天地天地" not in text


SECRETS = st.text("秘密天地玄黄洪荒", min_size=1, max_size=8)
FRAMES = st.one_of(
    st.just(LOUD),
    st.just(QUIET),
    st.just(finish_task()),
    SECRETS,
    st.builds(lambda word, weight: run_task(vocabulary={word: weight}), SECRETS, st.integers(1, 9)),
    st.builds(lambda word: run_task(vocabulary={word: word}), SECRETS),
    st.builds(lambda word: run_task(model=word), SECRETS),
    st.builds(lambda word: run_task(format=word), SECRETS),
    st.builds(lambda word: run_task(vocabulary_id=word), SECRETS),
    st.builds(lambda word: run_task(special_word_filter=word), SECRETS),
    st.builds(lambda word: json.dumps({"header": {"action": word, "task_id": "t"}}), SECRETS),
)


def quote_the_transcript(*_):
    raise KeyError(TEXT)


@settings(max_examples=12)
@given(frames=st.lists(FRAMES, max_size=5), breaks=st.booleans())
def test_neither_messages_nor_results_reach_the_log(frames, breaks):
    events = []

    async def talk():
        settings = {"api_keys": (KEY,), "database_url": "sqlite://", "max_tasks": 2}
        async with serving(uvicorn={"access_log": True}, **settings) as served:
            if breaks:
                served.engine._deliver = quote_the_transcript
            path = f"/api-ws/v1/inference?api_key={KEY}&note={quote('x')}"
            async with connected(served, path) as client:
                await client.say(run_task("first"), LOUD, QUIET, finish_task("first"))
                try:
                    events.extend(await client.until("task-finished"))
                    await client.say(*frames)
                    await asyncio.sleep(0.02)
                except websockets.ConnectionClosed:
                    pass

    with logging_as_the_server() as (written, _):
        asyncio.run(talk())
    assert breaks or texts(events)
    assert '"message": "task f' in written.getvalue()
    assert written.getvalue().isascii(), (
        written.getvalue()
    )  # every message and transcript here is Chinese
    assert KEY not in written.getvalue()


def test_a_database_error_does_not_quote_the_words_of_a_list(tmp_path, caplog):
    lists = vocabularies(f"sqlite:///{tmp_path}/lists.sqlite3")
    lists.create("0" * 16, "a", "m", [{"text": "秘密", "weight": 4}])
    with contextlib.closing(sqlite3.connect(tmp_path / "lists.sqlite3")) as connection:
        connection.execute("DROP TABLE hotword_vocabularies")
    caplog.set_level("DEBUG")
    with pytest.raises(Exception, match="unavailable") as caught:
        lists.create("0" * 16, "a", "m", [{"text": "秘密", "weight": 4}])
    lists.database.close()
    assert "no such table" in caplog.text
    assert "秘密" not in caplog.text + repr(caught.value.__cause__)


def test_a_plain_uvicorn_logs_json_and_no_frames_at_trace_level():
    port = free_port()
    command = ("-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", str(port))

    async def talk():
        async with connected(Served(port, None)) as client:
            await client.say(run_task(), LOUD, finish_task())
            return texts(await client.until("task-finished"))

    with launched(*command, "--log-level", "trace", port=port, ASR_LOG_LEVEL="debug") as server:
        finals = asyncio.run(talk())
        server.stop()
    assert finals
    assert server.said.isascii()
    assert {"info", "debug"} <= {record["level"] for record in server.records}
    assert any(record["logger"] == "uvicorn.error" for record in server.records)
    (line,) = ends(server.records)
    assert line["characters"] == len("".join(finals))
