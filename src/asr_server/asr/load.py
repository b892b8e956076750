"""From settings to an engine: the one place that knows which backend a model needs."""

from collections.abc import Callable
from pathlib import Path

from asr_server.asr.admission import Limits
from asr_server.asr.batching import Policy
from asr_server.asr.engine import Engine, EngineOptions
from asr_server.asr.loader import Loader
from asr_server.asr.types import Backend
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings

FAKE_MODEL = "fake"
"""The name of the backend that needs no weights, for tests of everything around the model."""


def build_engine(
    settings: Settings,
    model: Path | str,
    punctuation: Path | None = None,
    metrics: Metrics | None = None,
) -> Engine:
    """An engine for FunASR model directories, or for `fake`; `start()` loads them."""
    chunk_period_s = settings.chunk_size[1] * 0.06
    options = EngineOptions(
        max_streams=settings.max_tasks,
        preview_interval_ms=200 if settings.previews else 0,
        policy=Policy(
            max_batch=settings.max_batch,
            max_wait_s=settings.max_batching_delay_ms / 1000,
            chunk_period_s=chunk_period_s,
        ),
        step_timeout_s=settings.step_timeout_s,
        limits=Limits(
            max_delay_s=settings.max_delay_ms / 1000,
            chunk_period_s=chunk_period_s,
        ),
    )
    return Engine(_loader(settings, model, punctuation), options, metrics)


def _loader(
    settings: Settings, model: Path | str, punctuation: Path | None
) -> Callable[[], Backend]:
    if model == FAKE_MODEL:
        from asr_server.asr.fake import FakeBackend

        return FakeBackend

    def build(device: str) -> Backend:
        # Here and not above: torch takes seconds to import.
        from asr_server.asr.run.backend import PyTorchBackend, PyTorchOptions

        options = PyTorchOptions(
            device=device,
            dtype=settings.dtype,
            chunk_size=settings.chunk_size,
            threads=settings.threads,
            lanes=settings.step_threads,
            slots=settings.max_tasks,
            max_batch=settings.max_batch,
        )
        return PyTorchBackend.load(Path(model), options, punctuation)

    fallback = None if settings.device_fallback == "none" else settings.device_fallback
    directories = [Path(model), punctuation] if punctuation else [Path(model)]
    return Loader(build, settings.device, fallback, directories)
