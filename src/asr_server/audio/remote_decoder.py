"""Decode one compressed stream in a process of its own, from the event loop."""

import asyncio
import logging
from collections.abc import AsyncIterator

import numpy as np

from asr_server.audio.decoder_pool import DecoderPool, Process
from asr_server.audio.decoder_process import FRAME, LENGTH, MEMORY_BYTES, Kind
from asr_server.audio.units import Pcm
from asr_server.errors import DecodeError, InternalError

log = logging.getLogger(__name__)

SLICE = 16_384
"""Bytes that the process gets at once; it must not block while the server still writes."""


class RemoteDecoder:
    """Decode compressed audio; each call returns when the process needs more input."""

    def __init__(self, pool: DecoderPool, demuxer: str) -> None:
        self._pool = pool
        self._demuxer = demuxer
        self._process: Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._ended = False
        """No further samples come."""
        self._closed = False
        self.queueing_delay_s = 0.0
        """How long the last piece waited for a processor."""

    async def feed(self, data: bytes) -> AsyncIterator[Pcm]:
        """Yield the samples that `data` completes. Raises DecodeError, InternalError."""
        for begin in range(0, len(data), SLICE):
            async for samples in self._decode(data[begin : begin + SLICE]):
                yield samples

    async def finish(self) -> AsyncIterator[Pcm]:
        """Yield the remaining samples. Raises DecodeError if nothing could be decoded."""
        async for samples in self._decode(b""):
            yield samples

    def close(self) -> None:
        """End the process."""
        self._closed = self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process = None
            self._writer.transport.abort()

    async def _decode(self, piece: bytes) -> AsyncIterator[Pcm]:
        if self._ended:
            return
        try:
            if self._process is None:
                await self._open()
            self._writer.write(LENGTH.pack(len(piece)) + piece)
            waited_s = 0.0
            kind = Kind.SAMPLES
            while kind is Kind.SAMPLES:
                kind, payload, frame_s = await self._frame()
                waited_s += frame_s
                if kind is Kind.SAMPLES:
                    yield np.frombuffer(payload, np.float32)
        except (OSError, EOFError) as broken:
            if self._closed:
                return
            raise await self._death() from broken
        self.queueing_delay_s = max(0.0, waited_s)
        if kind is Kind.REFUSED:
            raise DecodeError(payload.decode(errors="replace"))
        self._ended = kind is Kind.ENDED

    async def _open(self) -> None:
        process = await self._pool.open()
        self._reader, self._writer = await asyncio.open_connection(sock=process.channel)
        self._process = process
        if self._closed:
            self.close()
            raise EOFError
        name = self._demuxer.encode()
        self._writer.write(LENGTH.pack(len(name)) + name)
        await self._frame()  # READY

    async def _frame(self) -> tuple[Kind, bytes, float]:
        """Return the next frame, and how long it took beyond the CPU time that it needed.

        Raises OSError, EOFError, and DecodeError if it is no frame.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        kind, cpu_s, length = FRAME.unpack(await self._reader.readexactly(FRAME.size))
        if kind not in iter(Kind) or length > MEMORY_BYTES or (kind == Kind.SAMPLES and length % 4):
            # FFmpeg runs no code of a file, unless it has a fault that is not known yet.
            log.error("a decoder process sends nonsense", extra={"demuxer": self._demuxer})
            raise DecodeError("its decoder failed")
        payload = await self._reader.readexactly(length)
        return Kind(kind), payload, clock() - began - cpu_s

    async def _death(self) -> Exception:
        """Log how the process died, and return the error of its task."""
        if self._process is None:
            return InternalError("no process for a decoder")
        status = await self._process.status()
        log.warning("a decoder process died", extra={"status": status, "demuxer": self._demuxer})
        if status is None or status.startswith("fork"):
            return InternalError("no process for a decoder")
        return DecodeError("it is damaged, or exceeds the limits of the decoder")
