"""PyTorch backends for tests and benchmarks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from asr_server.asr.run.backend import PyTorchBackend, PyTorchOptions

OPTIONS = PyTorchOptions(
    device="cpu",
    dtype="float32",
    chunk_size=(0, 10, 5),
    threads=0,
    workers=1,
    slots=64,
    max_batch=64,
)


def load_backend(
    model: Path, punctuation: Path | None = None, *, warm: bool = False, **options: Any
) -> PyTorchBackend:
    """Load a model with `OPTIONS` and those given; with `warm`, the backend is warmed up."""
    backend = PyTorchBackend(model, replace(OPTIONS, **options), punctuation)
    if warm:
        backend.warm_up()
    return backend
