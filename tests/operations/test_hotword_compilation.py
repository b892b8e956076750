"""Compiling a long list of hotwords delays its own task only."""

import asyncio
import threading

import numpy as np
import pytest

from asr_server.asr import engine as engine_module
from asr_server.asr.hotword_compiler import compile_hotwords
from tests.support.engines import engine_with
from tests.support.fake_backend import TEXT
from tests.support.serving import LOUD, connected, finish_task, run_task, serving, texts


def words(seed: int, count: int = 2000) -> dict[str, int]:
    """Different words of the fake backend's characters."""
    choose = np.random.default_rng(seed)
    found: dict[str, int] = {}
    while len(found) < count:
        found["".join(choose.choice(list(TEXT), 4))] = 4
    return found


async def test_a_list_is_compiled_once_off_the_event_loop_and_no_audio_is_lost(monkeypatch):
    threads = []
    before = compile_hotwords.cache_info()

    def watched(*arguments):
        misses = compile_hotwords.cache_info().misses
        result = compile_hotwords(*arguments)
        if compile_hotwords.cache_info().misses > misses:
            threads.append(threading.current_thread().name)
        return result

    monkeypatch.setattr(engine_module, "compile_hotwords", watched)
    vocabulary = words(seed=1)
    async with serving() as served, connected(served) as one, connected(served) as other:
        for client in (one, other):  # audio behind run-task, without waiting
            await client.say(run_task(vocabulary=vocabulary), LOUD, LOUD, finish_task())
        results = [texts(await client.until("task-finished")) for client in (one, other)]
        await one.say(run_task("plain"), LOUD, LOUD, finish_task("plain"))
        plain = texts(await one.until("task-finished"))
    assert [list(map(len, found)) for found in results] == [list(map(len, plain))] * 2
    assert [name.startswith("hotwords") for name in threads] == [True]
    assert compile_hotwords.cache_info().misses == before.misses + 1


@pytest.fixture
def blocked(monkeypatch):
    """Block compilation; yields events for its begin and its release."""
    began, release = threading.Event(), threading.Event()

    def slow(*arguments):
        began.set()
        release.wait(5)
        return compile_hotwords(*arguments)

    monkeypatch.setattr(engine_module, "compile_hotwords", slow)
    return began, release


async def test_other_streams_are_decoded_while_a_list_is_compiled(blocked):
    began, release = blocked
    async with serving() as served, connected(served) as patient, connected(served) as other:
        await patient.say(run_task(vocabulary={"天地玄黄": 4}), LOUD, finish_task())
        await asyncio.to_thread(began.wait, 5)
        await other.say(run_task(), LOUD, finish_task())
        assert len(texts(await other.until("task-finished"))) == 1
        release.set()
        assert len(texts(await patient.until("task-finished"))) == 1


async def test_a_client_that_leaves_during_compilation_leaves_no_stream(blocked):
    began, release = blocked
    async with serving() as served:
        async with connected(served) as client:
            await client.say(run_task(vocabulary={"宇宙洪荒": 4}))
            assert await asyncio.to_thread(began.wait, 5)
        release.set()
        async with connected(served) as client:
            await client.say(run_task(), LOUD, finish_task())
            await client.until("task-finished")
        assert served.engine.open_streams == 0


async def test_an_empty_list_starts_no_thread():
    engine = engine_with()
    await engine.start()
    await engine.prepare(())
    assert not engine._compiler._threads
    await engine.stop()
