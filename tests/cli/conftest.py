"""A model to serve and hubs to ask."""

from pathlib import Path

import pytest

from tests.support.funasr_model import random_config, small_vocabulary, write_model_dir
from tests.support.model_hub import hub  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model directory with random weights, whose text is meaningless."""
    directory = tmp_path_factory.mktemp("tiny")
    write_model_dir(directory, random_config(), small_vocabulary())
    return directory


@pytest.fixture
def offline() -> dict[str, str]:
    """Settings that lead to no hub and no cache."""
    return {
        "ASR_MODELSCOPE_ENDPOINT": "http://127.0.0.1:9",
        "ASR_HUGGINGFACE_ENDPOINT": "http://127.0.0.1:9",
        "ASR_MODELSCOPE_CACHE": "/nonexistent",
        "ASR_HUGGINGFACE_CACHE": "/nonexistent",
    }
