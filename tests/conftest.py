"""What every test shares: workers, one thread of torch for each, garbage collection by module."""

import contextlib
import gc
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from asr_server.process import heap_trim
from tests.support import databases

# Before torch is loaded. Where threads outnumber cores, waiting threads that spin make a step ten
# times slower. Servers that tests start as processes inherit these variables.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["COLUMNS"] = "100"  # rich reads the width when a module is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")

# FunASR's own __init__ imports all its models, which takes 10 s; tests need a few of its modules.
if "funasr" not in sys.modules and (_funasr := importlib.util.find_spec("funasr")):
    sys.modules["funasr"] = importlib.util.module_from_spec(_funasr)

gc.disable()  # while tests are collected: it would walk through half a million new objects

# A deadline would test how busy the machine is.
settings.register_profile("default", deadline=None)
# `make fuzz`. Every example counts, so no health check may end the run.
settings.register_profile(
    "fuzz", deadline=None, max_examples=10_000, suppress_health_check=list(HealthCheck)
)
settings.load_profile("default")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many workers `-n auto` starts: none for named files, or for chosen markers.

    For the whole suite two more than there are cores, because tests of servers wait for timers.
    """
    if config.args != config.getini("testpaths") or "not slow" not in config.option.markexpr:
        return 0
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1) + 2


@pytest.fixture(scope="session", autouse=True)
def _servers_do_not_freeze() -> Iterator[None]:
    """Leave out what each server does at its start and end: what is loaded stays frozen.

    A collection among all loaded objects takes half a second. tests/test_heap_trim.py restores it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heap_trim, "frozen_gc", contextlib.nullcontext)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[databases.Postgres]:
    """Start a PostgreSQL, one for all tests of a worker."""
    if reason := databases.missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as directory:  # its path is short enough for a Unix socket
        server = databases.Postgres(Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgres_url(postgres: databases.Postgres) -> str:
    """Return the URL of a PostgreSQL without tables."""
    return postgres.new_schema()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables, of either kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/new/directory/lists.sqlite3"


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Collect the garbage of a module's tests, so that its warnings appear beside them.

    What is left has been imported or is shared: without a freeze, each later collection would walk
    through it for 0.3 s.
    """
    yield
    gc.collect()
    gc.freeze()


SLOWEST = (
    "test_web_client",
    "test_long_streams",
    "test_real_server",
    "test_shape_buckets",
    "test_drain",
)
"""Files whose tests take longest. A worker that begins one of them last would end long after the
others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the slowest tests to the front."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in SLOWEST))


def pytest_collection_finish() -> None:
    """Collect garbage again, but not among what was loaded."""
    gc.freeze()
    gc.enable()
