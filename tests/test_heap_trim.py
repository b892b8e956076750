"""What is freed goes back to the system."""

import asyncio
import gc
import platform
import weakref
from pathlib import Path

import numpy as np
import pytest

from asr_server.app import create_app
from asr_server.process import heap_trim
from asr_server.settings import Settings

PIECE = 64 * 1024
"""Bytes that the C library takes from a heap and not from the system."""


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
async def test_holes_in_the_heap_are_given_back(monkeypatch):
    pieces = [np.ones(PIECE, np.uint8) for _ in range(4000)]
    kept = pieces[::100]  # so that the heap cannot shrink from its end
    full = resident_mb()
    pieces.clear()
    monkeypatch.setattr(heap_trim, "PERIOD_S", 0.01)
    watching = asyncio.create_task(heap_trim.watch(), name="memory")
    for _ in range(500):
        if resident_mb() < full - 200:
            break
        await asyncio.sleep(0.01)
    watching.cancel()
    assert resident_mb() < full - 200
    assert sum(map(np.sum, kept)) == len(kept) * PIECE


class Ring:
    """Only the garbage collector frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_there_at_the_start_is_not_searched_for_garbage():
    loaded, dropped = Ring(), weakref.ref(Ring())
    with heap_trim.settled():
        assert dropped() is None
        assert not any(each is loaded for each in gc.get_objects())
        came = weakref.ref(Ring())
        gc.collect()
        assert came() is None
    assert any(each is loaded for each in gc.get_objects())


async def test_a_server_that_has_loaded_is_settled():
    server = create_app(Settings(model="fake", database_url="sqlite://"))
    async with server.router.lifespan_context(server):
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


async def test_without_glibc_nothing_is_done(monkeypatch):
    monkeypatch.setattr(heap_trim.ctypes, "CDLL", lambda name: object())
    await asyncio.wait_for(heap_trim.watch(), 1)
