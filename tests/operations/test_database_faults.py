"""The vocabulary database fails in many ways; recognition without a vocabulary continues."""

import asyncio
import contextlib
import os
import resource
import socket
import sqlite3
import subprocess
import time

import pytest

from tests.support.encoding import can_encode, encode
from tests.support.serving import (
    LOUD,
    connected,
    error,
    finish_task,
    http_client,
    names,
    run_task,
    serving,
    texts,
)

PATH = "/api/v1/services/audio/asr/customization"
WORDS = [{"text": "天地玄黄", "weight": 4}]
MODEL = "paraformer-realtime-v2"
UNAVAILABLE = (503, "ServiceUnavailable")


async def act(served, action, **given):
    message = {"model": "speech-biasing", "input": {"action": action, **given}}
    async with http_client(timeout=20) as client:
        answer = await client.post(served.http + PATH, json=message)
    return answer.status_code, answer.json()


async def create(served, words=WORDS):
    return await act(served, "create_vocabulary", target_model=MODEL, prefix="a", vocabulary=words)


async def task(served, **parameters):
    async with connected(served) as client:
        await client.say(run_task(**parameters))
        await client.stream(LOUD)
        await client.say(finish_task())
        return await client.until("task-finished")


async def assert_only_vocabularies_fail(served, id, *, reading=True):
    """Assert that vocabulary calls give 503, tasks with one fail, and all other tasks work."""
    status, body = await (act(served, "list_vocabulary") if reading else create(served))
    assert (status, body["code"]) == UNAVAILABLE
    assert "hotword lists are unavailable" in body["message"]
    if reading:
        code, message = error(await task(served, vocabulary_id=id))
        assert code == "ServiceUnavailable"
        assert "hotword lists are unavailable" in message
    assert len(texts(await task(served))) == 1


@pytest.fixture
async def served(tmp_path):
    url = f"sqlite:///{tmp_path}/lists.sqlite3"
    async with serving(database_url=url, database_timeout_s=0.5) as served:
        yield served


async def test_a_locked_database(served, tmp_path, caplog):
    _, body = await create(served)
    id = body["output"]["vocabulary_id"]
    with contextlib.closing(sqlite3.connect(tmp_path / "lists.sqlite3")) as other:
        other.execute("BEGIN EXCLUSIVE")
        await assert_only_vocabularies_fail(served, id)
        assert "database is locked" in caplog.text
        other.rollback()
    assert (await create(served))[0] == 200
    assert names(await task(served, vocabulary_id=id))[-1] == "task-finished"


@pytest.mark.skipif(not can_encode("mp3"), reason="no encoder for mp3")
async def test_calls_waiting_for_a_locked_database_do_not_delay_decoders(served, tmp_path):
    import numpy as np

    await create(served)
    recording = encode(np.frombuffer(LOUD, "<i2"), "mp3")
    with contextlib.closing(sqlite3.connect(tmp_path / "lists.sqlite3")) as other:
        other.execute("BEGIN EXCLUSIVE")
        waiting = [asyncio.create_task(act(served, "list_vocabulary")) for _ in range(40)]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        async with connected(served) as client:
            await client.say(run_task(format="mp3"), recording, finish_task())
            assert len(texts(await client.until("task-finished"))) == 1
        assert not all(call.done() for call in waiting)
        assert {status for status, _ in await asyncio.gather(*waiting)} == {503}
        assert time.monotonic() - began < 5


async def test_a_read_only_database(tmp_path):
    file = tmp_path / "lists.sqlite3"
    async with serving(database_url=f"sqlite:///{file}") as served:
        _, body = await create(served)
        id = body["output"]["vocabulary_id"]
    async with serving(database_url=f"sqlite:///file:{file}?mode=ro&uri=true") as served:
        assert "file:" not in os.listdir()  # the URI is no path
        await assert_only_vocabularies_fail(served, id, reading=False)
        assert names(await task(served, vocabulary_id=id))[-1] == "task-finished"
        assert (await act(served, "query_vocabulary", vocabulary_id=id))[0] == 200


@contextlib.contextmanager
def full_file_system(directory):
    """A real one of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@contextlib.contextmanager
def no_file_longer_than(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


MANY_WORDS = [{"text": "天地玄黄", "weight": 4, "lang": "x" * 100}] * 400
"""More than fits."""


async def test_a_full_disk(tmp_path, caplog):
    with full_file_system(tmp_path):
        async with serving(database_url=f"sqlite:///{tmp_path}/lists.sqlite3") as served:
            _, body = await create(served)
            id = body["output"]["vocabulary_id"]
            status, body = await create(served, MANY_WORDS)
            assert (status, body["code"]) == UNAVAILABLE
            assert "disk is full" in caplog.text
            assert names(await task(served, vocabulary_id=id))[-1] == "task-finished"
            assert len(texts(await task(served))) == 1
            assert (await act(served, "delete_vocabulary", vocabulary_id=id))[0] == 200


async def test_a_file_that_may_not_grow(tmp_path):
    async with serving(database_url=f"sqlite:///{tmp_path}/lists.sqlite3") as served:
        _, body = await create(served)
        id = body["output"]["vocabulary_id"]
        with no_file_longer_than(24 * 1024):
            status, body = await create(served, MANY_WORDS)
        assert (status, body["code"]) == UNAVAILABLE
        assert names(await task(served, vocabulary_id=id))[-1] == "task-finished"
        assert (await create(served, MANY_WORDS))[0] == 200


async def test_a_file_that_is_not_a_database(tmp_path):
    (tmp_path / "lists.sqlite3").write_bytes(b"garbage" * 1000)
    async with serving(database_url=f"sqlite:///{tmp_path}/lists.sqlite3") as served:
        await assert_only_vocabularies_fail(served, "vocab-a-0")
        (tmp_path / "lists.sqlite3").unlink()
        assert (await create(served))[0] == 200


@pytest.mark.parametrize("silent", [True, False], ids=["that never answers", "that is down"])
async def test_a_database_server(silent):
    pytest.importorskip("psycopg")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if not silent:
            listener.close()
        url = f"postgresql+psycopg://user:hidden@127.0.0.1:{port}/lists"
        async with serving(database_url=url, database_timeout_s=0.3) as served:
            began = time.monotonic()
            await assert_only_vocabularies_fail(served, "vocab-a-0")
        assert time.monotonic() - began < 5  # with the end of the server


async def test_a_malformed_database_url_stops_the_start_and_hides_its_password():
    from asr_server.settings import SettingsError

    with pytest.raises(SettingsError, match="ASR_DATABASE_URL") as caught:
        async with serving(database_url="secret stuff"):
            pass
    assert "secret" not in str(caught.value)
