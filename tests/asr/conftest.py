"""A small model with random weights, and FunASR's own run of it."""

from pathlib import Path
from typing import Any

import pytest

from asr_server.asr.backends.pytorch import PyTorchBackend, PyTorchOptions
from tests.support.funasr_model import random_config, small_vocabulary, write_model_dir

CHUNK_SIZES = [(0, 10, 5), (0, 8, 4)]


@pytest.fixture(scope="session")
def model_config() -> dict[str, Any]:
    return random_config()


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory, model_config: dict[str, Any]) -> Path:
    return write_model_dir(tmp_path_factory.mktemp("model"), model_config, small_vocabulary())


@pytest.fixture(scope="session", params=CHUNK_SIZES, ids=str)
def chunk_size(request: pytest.FixtureRequest) -> tuple[int, int, int]:
    chunk_size: tuple[int, int, int] = request.param
    return chunk_size


@pytest.fixture(scope="session")
def backend(model_dir: Path, chunk_size: tuple[int, int, int]) -> PyTorchBackend:
    options = PyTorchOptions(device="cpu", dtype="float32", chunk_size=chunk_size, slots=64)
    return PyTorchBackend.load(model_dir, options, None)
