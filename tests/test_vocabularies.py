"""Hotword lists are kept, found by their owner alone, and limited, on either database."""

import asyncio
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asr_server.errors import NotFound, Throttled
from asr_server.vocabularies import Vocabularies
from tests.support.databases import HAS_POSTGRES, postgres

ME, YOU = "0123456789abcdef", "fedcba9876543210"
WORDS = [{"text": "阿里巴巴", "weight": 4, "lang": "zh"}, {"text": "DashScope", "weight": 5}]
MODEL = "paraformer-realtime-v2"


@pytest.fixture(scope="module")
def postgres_url():
    with tempfile.TemporaryDirectory() as directory, postgres(Path(directory)) as url:
        yield url


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param(
            "postgres", marks=pytest.mark.skipif(not HAS_POSTGRES, reason="no PostgreSQL here")
        ),
    ]
)
def url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/new/directory/lists.sqlite3"


@pytest.fixture
def lists(url):
    vocabularies = Vocabularies(url, most=3)
    yield vocabularies
    for caller in (ME, YOU):
        for vocabulary in vocabularies.list(caller, None, 0, 100):
            vocabularies.delete(caller, vocabulary.id)
    vocabularies.close()


def test_a_list_is_kept_as_it_was_given(lists):
    id = lists.create(ME, "demo", MODEL, WORDS)
    kept = lists.get(ME, id)
    assert id.startswith("vocab-demo-")
    assert (kept.id, kept.target_model, list(kept.words)) == (id, MODEL, WORDS)
    assert kept.created == kept.modified


def test_a_list_outlives_the_process(lists, url):
    id = lists.create(ME, "demo", MODEL, WORDS)
    again = Vocabularies(url, most=3)
    assert list(again.get(ME, id).words) == WORDS
    again.close()


def test_words_can_be_replaced(lists):
    id = lists.create(ME, "demo", MODEL, WORDS)
    lists.replace(ME, id, WORDS[:1])
    kept = lists.get(ME, id)
    assert list(kept.words) == WORDS[:1]
    assert kept.modified >= kept.created


def test_what_is_deleted_is_gone(lists):
    id = lists.create(ME, "demo", MODEL, WORDS)
    lists.delete(ME, id)
    with pytest.raises(NotFound):
        lists.get(ME, id)
    with pytest.raises(NotFound):
        lists.delete(ME, id)


def test_nobody_finds_or_changes_another_callers_list(lists):
    id = lists.create(ME, "demo", MODEL, WORDS)
    assert lists.list(YOU, None, 0, 10) == []
    with pytest.raises(NotFound):
        lists.get(YOU, id)
    with pytest.raises(NotFound):
        lists.replace(YOU, id, [])
    with pytest.raises(NotFound):
        lists.delete(YOU, id)
    assert lists.get(ME, id)


def test_lists_come_newest_first_page_by_page_and_by_prefix(lists):
    first, second, third = [lists.create(ME, p, MODEL, WORDS) for p in ("a", "b", "a")]
    assert [v.id for v in lists.list(ME, None, 0, 2)] == [third, second]
    assert [v.id for v in lists.list(ME, None, 1, 2)] == [first]
    assert [v.id for v in lists.list(ME, "a", 0, 10)] == [third, first]


def test_a_caller_may_have_so_many_lists_and_no_more(lists):
    for _ in range(3):
        lists.create(ME, "demo", MODEL, WORDS)
    with pytest.raises(Throttled, match="3 vocabularies"):
        lists.create(ME, "demo", MODEL, WORDS)
    assert lists.create(YOU, "demo", MODEL, WORDS)


def test_the_limit_holds_when_many_ask_at_once(lists):
    refused = []

    def create():
        try:
            lists.create(ME, "demo", MODEL, WORDS)
        except Throttled:
            refused.append(True)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lists.list(ME, None, 0, 100)) == 3
    assert len(refused) == 5


def test_many_processes_may_begin_at_once(tmp_path):
    url = f"sqlite:///{tmp_path}/lists.sqlite3"
    everybody = [Vocabularies(url, most=100) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda one: one.create(ME, "demo", MODEL, WORDS), everybody))
    assert len(everybody[0].list(ME, None, 0, 100)) == 6
    for one in everybody:
        one.close()


def test_no_file_is_made_before_a_list_is_asked_for(tmp_path):
    Vocabularies(f"sqlite:///{tmp_path}/lists.sqlite3", most=1).close()
    assert os.listdir(tmp_path) == []


async def test_who_gives_up_in_the_moment_of_the_answer_has_given_up(lists):
    loop, answered = asyncio.get_running_loop(), threading.Event()

    def call():
        loop.call_soon_threadsafe(asking.cancel)
        answered.set()

    asking = asyncio.create_task(lists.run(call), name="asking")
    await asyncio.sleep(0)
    answered.wait()
    # Blocked, the loop learns of the answer in the turn of the cancellation.
    time.sleep(0.05)  # noqa: ASYNC251
    await asyncio.wait({asking})
    assert asking.cancelled()
