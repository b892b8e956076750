"""Build an engine from settings: which backend a model needs, and what a failed load means."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from asr_server.asr.engine import Engine
from asr_server.asr.types import Backend, DeviceLostError, LoadError
from asr_server.asr.worker import accelerator_fails
from asr_server.observability.logs import fault
from asr_server.observability.metrics import Metrics
from asr_server.settings import Settings

log = logging.getLogger(__name__)


def build_engine(
    settings: Settings,
    model: Path,
    punctuation: Path | None = None,
    metrics: Metrics | None = None,
    second_pass: Path | None = None,
    no_second_pass: str = "",
) -> Engine:
    """Return an engine for FunASR model directories; `start()` loads them.

    `no_second_pass` says why there is no offline model, if there is none.
    """
    loader = _loader(settings, model, punctuation, second_pass)
    loader.no_second_pass = no_second_pass
    return Engine(loader, settings, metrics, lambda: loader.no_second_pass)


class Loader:
    """Build a warm backend where the first one ran, or on `fallback` if there is one.

    `build` gets the name of a device; `directories` are the models to verify when loading fails.
    `build_without` leaves out the offline model, which may be the one that fails; None if there is
    none or the server shall not run without.
    """

    def __init__(
        self,
        build: Callable[[str], Backend],
        device: str,
        fallback: str | None = None,
        directories: Sequence[Path] = (),
        build_without: Callable[[str], Backend] | None = None,
    ) -> None:
        self._build = build
        self._device = device
        self._fallback = fallback
        self._directories = directories
        self._build_without = build_without
        self.no_second_pass = ""
        """Why no offline model is loaded, if none is."""

    def __call__(self) -> Backend:
        """Return a warm backend. Raises LoadError where a file or the GPU is at fault."""
        try:
            backend = self._warm(self._device)
        except DeviceLostError as error:
            if self._fallback is None:
                raise
            log.error("%s", error, extra={"device": self._fallback})
            return self._warm(self._fallback)
        self._device = backend.device  # a lost GPU must not turn `auto` into the CPU
        return backend

    def _warm(self, device: str) -> Backend:
        try:
            return self._built(self._build, device)
        except DeviceLostError:
            raise
        except Exception as error:
            if self._build_without is None:
                raise
            backend = self._built(self._build_without, device)
            self.no_second_pass = str(error) if isinstance(error, LoadError) else "see the log"
            about = {"reason": self.no_second_pass, **fault(error)}
            log.error("the offline model cannot be used; there is no second pass", extra=about)
            self._build, self._build_without = self._build_without, None
            return backend

    def _built(self, build: Callable[[str], Backend], device: str) -> Backend:
        try:
            backend = build(device)
            backend.warm_up()
        except Exception as error:
            if accelerator_fails(error):
                raise DeviceLostError(_no_gpu(error)) from error
            if damage := self._damage():
                raise LoadError(damage) from error
            raise
        return backend

    def _damage(self) -> str | None:
        """Return a sentence about the first damaged file, if there is one."""
        from asr_server.asr.loading.verify import damage  # not above: it imports torch

        for directory in self._directories:
            if found := damage(directory):
                log.error("a model is damaged", extra={"directory": str(directory)})
                return found
        return None


def _loader(
    settings: Settings, model: Path, punctuation: Path | None, second_pass: Path | None
) -> Loader:
    def build(second_pass: Path | None, device: str) -> Backend:
        # Here and not above: torch takes seconds to import.
        from asr_server.asr.run.backend import PyTorchBackend

        here = settings.model_copy(update={"device": device})
        return PyTorchBackend(model, here, punctuation, second_pass)

    fallback = None if settings.device_fallback == "none" else settings.device_fallback
    return Loader(
        partial(build, second_pass),
        settings.device,
        fallback,
        [path for path in (model, punctuation, second_pass) if path],
        partial(build, None) if second_pass and settings.second_pass == "auto" else None,
    )


def _no_gpu(error: Exception) -> str:
    reason = str(error).splitlines()[0].rstrip(".")
    return (
        f"The GPU cannot be used ({reason}). Only a new process may get it back; "
        "with ASR_DEVICE_FALLBACK=cpu the server goes on without it"
    )
