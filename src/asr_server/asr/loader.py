"""From a model directory to a backend that is warm, as often as it takes; what a failure means."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from asr_server.asr.types import Backend, DeviceLostError, LoadError
from asr_server.asr.worker import accelerator_fails

log = logging.getLogger(__name__)


class Loader:
    """Builds a warm backend where the first one ran, or on `fallback` if there is one.

    `build` gets the name of a device; `directories` are the models to look at when it fails.
    """

    def __init__(
        self,
        build: Callable[[str], Backend],
        device: str,
        fallback: str | None = None,
        directories: Sequence[Path] = (),
    ) -> None:
        self._build = build
        self._device = device
        self._fallback = fallback
        self._directories = directories

    def __call__(self) -> Backend:
        """A warm backend. Raises LoadError where a file or the GPU is to blame."""
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
            backend = self._build(device)
            backend.warm_up()
        except Exception as error:
            if accelerator_fails(error):
                raise DeviceLostError(_lost(error)) from error
            if damage := self._damage():
                raise LoadError(damage) from error
            raise
        return backend

    def _damage(self) -> str | None:
        """The first damaged file, if a damaged file it was."""
        from asr_server.asr.loading.verify import damage  # not above: it imports torch

        for directory in self._directories:
            if found := damage(directory):
                log.error("a model is damaged", extra={"directory": str(directory)})
                return found
        return None


def _lost(error: Exception) -> str:
    reason = str(error).splitlines()[0].rstrip(".")
    return (
        f"The GPU cannot be used ({reason}). Only a new process may get it back; "
        "with ASR_DEVICE_FALLBACK=cpu the server goes on without it"
    )
