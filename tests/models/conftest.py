"""Hubs: one that serves a model and one that is unreachable."""

from pathlib import Path

import pytest

from asr_server.settings import Settings
from tests.support.model_hub import (
    hub,  # noqa: F401 - a fixture
    hub_settings,
)

UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture
def nowhere(tmp_path: Path) -> Settings:
    """Settings with hubs that are unreachable."""
    return hub_settings(tmp_path, UNREACHABLE, UNREACHABLE)
