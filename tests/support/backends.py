"""PyTorch backends for tests and benchmarks."""

from pathlib import Path
from typing import Any

from asr_server.asr.run.backend import PyTorchBackend
from asr_server.settings import Settings

OPTIONS = {"device": "cpu", "dtype": "float32", "step_threads": 1}


def load_backend(
    model: Path,
    punctuation: Path | None = None,
    *,
    second_pass: Path | None = None,
    warm: bool = False,
    **options: Any,
) -> PyTorchBackend:
    """Load a model with the default settings, `OPTIONS` and those given, and perhaps warm it up."""
    settings = Settings(**{**OPTIONS, **options})
    backend = PyTorchBackend(model, settings, punctuation, second_pass)
    if warm:
        backend.warm_up()
    return backend
