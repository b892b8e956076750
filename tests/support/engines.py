"""Make engines with the server's own settings, except that no stream is refused for its delay."""

from collections.abc import Callable
from typing import Any

from asr_server.asr.engine import Engine
from asr_server.asr.types import Backend
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings
from tests.support.fake_backend import FakeBackend


def engine_with(
    load: Callable[[], Backend] = FakeBackend, metrics: Metrics | None = None, **overrides: Any
) -> Engine:
    """Return an engine whose settings are the defaults and `overrides`."""
    return Engine(load, Settings(**{"max_tasks": 256, "max_delay_ms": 0, **overrides}), metrics)
