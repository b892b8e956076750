"""Vocabularies are stored per caller, and limited, on SQLite and PostgreSQL."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from asr_server.errors import NotFound, Throttled
from tests.support.databases import vocabularies

ME, YOU = "0123456789abcdef", "fedcba9876543210"
WORDS = [{"text": "阿里巴巴", "weight": 4, "lang": "zh"}, {"text": "DashScope", "weight": 5}]
MODEL = "paraformer-realtime-v2"


@pytest.fixture
def lists(database_url):
    lists = vocabularies(database_url, 3)
    yield lists
    lists.database.close()


@pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")
def test_only_the_servers_user_can_read_a_new_file(tmp_path):
    file = tmp_path / "data" / "lists.sqlite3"
    lists = vocabularies(f"sqlite:///{file}")
    lists.create(ME, "demo", MODEL, WORDS)
    lists.database.close()
    assert [oct(path.stat().st_mode & 0o777) for path in (file, file.parent)] == ["0o600", "0o700"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions")
def test_the_modes_of_an_existing_file_and_directory_are_kept(tmp_path):
    file = tmp_path / "lists.sqlite3"
    file.touch()
    file.chmod(0o660)
    tmp_path.chmod(0o750)
    lists = vocabularies(f"sqlite:///{file}")
    lists.create(ME, "demo", MODEL, WORDS)
    lists.database.close()
    assert [oct(path.stat().st_mode & 0o777) for path in (file, tmp_path)] == ["0o660", "0o750"]


def test_a_vocabulary_is_stored_unchanged(lists):
    id = lists.create(ME, "demo", MODEL, WORDS)
    kept = lists.get(ME, id)
    assert id.startswith("vocab-demo-")
    assert (kept.id, kept.target_model, list(kept.words)) == (id, MODEL, WORDS)
    assert kept.created == kept.modified


def test_a_vocabulary_outlives_the_process(lists, database_url):
    id = lists.create(ME, "demo", MODEL, WORDS)
    again = vocabularies(database_url)
    assert list(again.get(ME, id).words) == WORDS
    again.database.close()


def test_words_can_be_replaced(lists):
    id = lists.create(ME, "demo", MODEL, WORDS)
    lists.replace(ME, id, WORDS[:1])
    kept = lists.get(ME, id)
    assert list(kept.words) == WORDS[:1]
    assert kept.modified >= kept.created


def test_a_deleted_vocabulary_is_not_found(lists):
    id = lists.create(ME, "demo", MODEL, WORDS)
    lists.delete(ME, id)
    with pytest.raises(NotFound):
        lists.get(ME, id)
    with pytest.raises(NotFound):
        lists.delete(ME, id)


def test_another_callers_vocabulary_is_neither_found_nor_changed(lists):
    id = lists.create(ME, "demo", MODEL, WORDS)
    assert lists.list(YOU, None, 0, 10) == []
    with pytest.raises(NotFound):
        lists.get(YOU, id)
    with pytest.raises(NotFound):
        lists.replace(YOU, id, [])
    with pytest.raises(NotFound):
        lists.delete(YOU, id)
    assert lists.get(ME, id)


def test_vocabularies_are_listed_newest_first_by_page_and_prefix(lists):
    first, second, third = [lists.create(ME, p, MODEL, WORDS) for p in ("a", "b", "a")]
    assert [v.id for v in lists.list(ME, None, 0, 2)] == [third, second]
    assert [v.id for v in lists.list(ME, None, 1, 2)] == [first]
    assert [v.id for v in lists.list(ME, "a", 0, 10)] == [third, first]


def test_a_caller_has_at_most_the_configured_number_of_vocabularies(lists):
    for _ in range(3):
        lists.create(ME, "demo", MODEL, WORDS)
    with pytest.raises(Throttled, match="3 vocabularies"):
        lists.create(ME, "demo", MODEL, WORDS)
    assert lists.create(YOU, "demo", MODEL, WORDS)


def test_the_limit_holds_for_concurrent_calls(lists):
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


def test_many_processes_may_create_the_tables_at_once(database_url):
    processes = [vocabularies(database_url, 100) for _ in range(6)]
    ready = threading.Barrier(6)

    def begin(one):
        ready.wait()
        return one.create(ME, "demo", MODEL, WORDS)

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(begin, processes))) == 6
    assert len(processes[0].list(ME, None, 0, 100)) == 6
    for one in processes:
        one.database.close()


def test_no_file_is_created_before_the_first_call(tmp_path):
    vocabularies(f"sqlite:///{tmp_path}/lists.sqlite3", 1).database.close()
    assert os.listdir(tmp_path) == []


async def test_a_cancellation_that_coincides_with_the_result_is_not_lost(lists):
    loop, answered = asyncio.get_running_loop(), threading.Event()

    def call():
        loop.call_soon_threadsafe(asking.cancel)
        answered.set()

    asking = asyncio.create_task(lists.database.run(call), name="asking")
    await asyncio.sleep(0)
    answered.wait()
    # While the loop is blocked, the result and the cancellation become ready together.
    time.sleep(0.05)  # noqa: ASYNC251
    await asyncio.wait({asking})
    assert asking.cancelled()
