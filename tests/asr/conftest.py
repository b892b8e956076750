"""A small model with random weights, and FunASR's own run of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from asr_server.asr.run.backend import PyTorchBackend
from tests.support.backends import load_backend
from tests.support.funasr_model import random_config, small_vocabulary, write_model_dir

CHUNK_SIZES = [(0, 10, 5), (0, 8, 4)]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(scope="session", params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """Everything that asks for it runs on each device that is here."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here")
        torch.backends.cudnn.allow_tf32 = False  # tokens are compared with those of a CPU
    return str(request.param)


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
def backend(model_dir: Path, chunk_size: tuple[int, int, int], device: str) -> PyTorchBackend:
    # Warm, so that its steps are traced, or captured.
    return load_backend(model_dir, warm=True, device=device, chunk_size=chunk_size)
