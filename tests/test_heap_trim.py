"""Freed memory returns to the system, and garbage collections stay short."""

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
from tests.support.fake_backend import FakeBackend

FROZEN_GC = heap_trim.frozen_gc
PIECE = 64 * 1024
"""Bytes that the C library allocates from a heap and not from the system."""


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
async def test_holes_in_the_heap_return_to_the_system(monkeypatch):
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


@pytest.fixture
def _freezing(monkeypatch):
    """Let servers freeze what is loaded, which tests/conftest.py has left out."""
    monkeypatch.setattr(heap_trim, "frozen_gc", FROZEN_GC)
    yield
    gc.freeze()


class Cycle:
    """Refers to itself, so that only the garbage collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.usefixtures("_freezing")
def test_objects_that_exist_at_the_start_are_exempt_from_garbage_collection():
    loaded, dropped = Cycle(), weakref.ref(Cycle())
    with heap_trim.frozen_gc():
        assert dropped() is None
        assert not any(each is loaded for each in gc.get_objects())
        came = weakref.ref(Cycle())
        gc.collect()
        assert came() is None
    assert any(each is loaded for each in gc.get_objects())


@pytest.mark.usefixtures("_freezing")
async def test_a_loaded_server_has_frozen_objects():
    server = create_app(Settings(database_url="sqlite://"), load=FakeBackend)
    async with server.router.lifespan_context(server):
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


async def test_without_glibc_no_heap_is_trimmed(monkeypatch):
    monkeypatch.setattr(heap_trim.ctypes, "CDLL", lambda name: object())
    await asyncio.wait_for(heap_trim.watch(), 1)
