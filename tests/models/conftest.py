"""Hubs: one that plays along and one that is not there."""

from pathlib import Path

import pytest

from asr_server.models.hubs import Hubs
from tests.support.model_hub import hub  # noqa: F401 - a fixture


@pytest.fixture
def nowhere(tmp_path: Path) -> Hubs:
    """Hubs that nobody answers for."""
    return Hubs("http://127.0.0.1:9", "http://127.0.0.1:9", tmp_path / "ms", tmp_path / "hf")
