"""The microphone of this machine, by way of `sounddevice`."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from typing import Any

from asr_client.errors import MicrophoneUnavailable
from asr_client.protocol import FRAME_MS


class Microphone:
    """The machine's microphone as 100 ms blocks of 16-bit PCM; `stop()` ends the audio.

    Raises MicrophoneUnavailable when iteration begins.
    """

    def __init__(self, device: int | str | None = None, sample_rate: int = 16000) -> None:
        self.device = device
        self.sample_rate = sample_rate
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """End the audio; may be called from a signal handler."""
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._loop = asyncio.get_running_loop()
        with self._open_device(load_sounddevice()):
            while (block := await self._queue.get()) is not None:
                yield block

    def _open_device(self, sounddevice: Any) -> Any:
        try:
            return sounddevice.RawInputStream(
                samplerate=self.sample_rate,
                blocksize=self.sample_rate * FRAME_MS // 1000,
                channels=1,
                dtype="int16",
                device=self.device,
                callback=self._on_block,
            )
        except Exception as error:  # PortAudioError is not importable without the package
            raise MicrophoneUnavailable(f"cannot open the microphone: {error}") from error

    def _on_block(self, block: Any, frames: int, time: Any, status: Any) -> None:
        """Queue a block; PortAudio calls this on its own thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, bytes(block))


def load_sounddevice() -> Any:
    """Return the module `sounddevice`. Raises MicrophoneUnavailable."""
    try:
        return importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:  # OSError: PortAudio itself is missing
        raise MicrophoneUnavailable(
            f"the microphone needs the package `sounddevice` (pip install sounddevice): {error}"
        ) from error
