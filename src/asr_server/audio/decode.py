"""Decode a task's bytes to samples: mono, 16 kHz, float32 in [-1, 1], however they are cut.

Clients confuse `pcm` and `wav`, and declare the extension of any uploaded file; so unmistakable
first bytes decide, and otherwise the declared format.
"""

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from asr_server.audio import g711
from asr_server.audio.decoder_pool import DecoderPool
from asr_server.audio.remote_decoder import RemoteDecoder
from asr_server.audio.resample import Resampler
from asr_server.audio.units import Pcm, bounded
from asr_server.audio.wave import HeaderParser, Layout, NotUncompressedWave
from asr_server.errors import InvalidParameter, UnsupportedFormat
from asr_server.settings import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

UNCOMPRESSED = ("pcm", "wav", *g711.LAYOUTS)
DEMUXERS = {
    "mp3": "mp3",
    "aac": "aac",
    "amr": "amr",
    "opus": "ogg",
    "speex": "ogg",
    "ogg": "ogg",
    "flac": "flac",
    "webm": "matroska",
    "m4a": "mov",
    "mp4": "mov",
}
"""FFmpeg's demuxer by declared format."""
RAW_SLICE = 65_536
"""Bytes of uncompressed audio that are decoded on the event loop."""
HEAD_BYTES = 12
"""Bytes that identify a format."""
SIGNATURES = {
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"#!AMR": "amr",
    b"\x1aE\xdf\xa3": "matroska",
    b"ID3": "mp3",
}
"""FFmpeg's demuxer by first bytes that no PCM audio begins with by chance."""

NOTHING: Pcm = np.zeros(0, np.float32)


class Decoder:
    """Decode one task's bytes: choose a decoder by the first ones, then leave the work to it."""

    def __init__(self, format: str, sample_rate: int, pool: DecoderPool) -> None:
        """Prepare for a declared format. Raises UnsupportedFormat, InvalidParameter."""
        if format in UNCOMPRESSED:
            if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
                raise InvalidParameter(
                    f"Sample rate {sample_rate} is not supported; it must be {MIN_SAMPLE_RATE} to"
                    f" {MAX_SAMPLE_RATE} Hz."
                )
        elif format not in DEMUXERS:
            raise UnsupportedFormat(format)
        self._format = format
        self._sample_rate = sample_rate
        self._pool = pool
        self._head = bytearray()
        self._header = HeaderParser()
        self._chosen: RawDecoder | RemoteDecoder | None = None

    async def feed(self, data: bytes) -> AsyncIterator[Pcm]:
        """Yield the samples that `data` completes. Raises DecodeError, InternalError."""
        if self._chosen is None:
            self._head += data
            choice = self._choose() if len(self._head) >= HEAD_BYTES else None
            if choice is None:
                return
            self._chosen, begin = choice
            data = bytes(self._head[begin:])
            self._head.clear()
        if isinstance(self._chosen, RemoteDecoder):
            async for samples in self._chosen.feed(data):
                yield samples
        elif len(data) <= RAW_SLICE:
            yield self._chosen.feed(data)
        else:
            for begin in range(0, len(data), RAW_SLICE):
                yield await asyncio.to_thread(self._chosen.feed, data[begin : begin + RAW_SLICE])

    async def finish(self) -> AsyncIterator[Pcm]:
        """Yield the remaining samples; the last call but `close`. Raises DecodeError."""
        if isinstance(self._chosen, RemoteDecoder):
            async for samples in self._chosen.finish():
                yield samples
        elif self._chosen is not None:
            yield self._chosen.finish()
        elif self._format in UNCOMPRESSED and len(self._head) < HEAD_BYTES:
            raw = RawDecoder(self._raw_layout)  # shorter than any header
            yield raw.feed(bytes(self._head))
            yield raw.finish()

    def close(self) -> None:
        """Release process and buffers; may be called at any time and twice."""
        if isinstance(self._chosen, RemoteDecoder):
            self._chosen.close()

    @property
    def queueing_delay_s(self) -> float | None:
        """Return how long the last bytes waited for a processor, or None if decoded here."""
        chosen = self._chosen
        return chosen.queueing_delay_s if isinstance(chosen, RemoteDecoder) else None

    def _choose(self) -> "tuple[RawDecoder | RemoteDecoder, int] | None":
        """Return the decoder and the offset of its first byte, or None if the header goes on."""
        head = self._head
        if head.startswith(b"RIFF"):
            try:
                header = self._header.parse(head)
            except NotUncompressedWave:
                return self._remote("wav")
            if header is None:
                return None
            return RawDecoder(header.layout, header.length), header.begin
        if head[4:8] == b"ftyp":
            return self._remote("mov")
        for signature, demuxer in SIGNATURES.items():
            if head.startswith(signature):
                return self._remote(demuxer)
        if self._format in UNCOMPRESSED:
            return RawDecoder(self._raw_layout), 0
        return self._remote(DEMUXERS[self._format])

    @property
    def _raw_layout(self) -> "Layout | g711.Layout":
        companded = g711.LAYOUTS.get(self._format)
        return companded(self._sample_rate) if companded else Layout(self._sample_rate)

    def _remote(self, demuxer: str) -> tuple[RemoteDecoder, int]:
        return RemoteDecoder(self._pool, demuxer), 0


class RawDecoder:
    """Decode `length` bytes of samples, or all if None; half a sample at the end is dropped."""

    def __init__(self, layout: "Layout | g711.Layout", length: int | None = None) -> None:
        self._layout = layout
        self._left = length
        self._resampler = Resampler(layout.rate)
        self._rest = b""

    def feed(self, data: bytes) -> Pcm:
        """Return the samples that `data` completes."""
        if self._left is not None:  # chunks behind the samples are not audio
            data = data[: self._left]
            self._left -= len(data)
        data = self._rest + data
        whole = len(data) - len(data) % self._layout.frame
        self._rest = data[whole:]
        return bounded(self._resampler.feed(self._layout.mono(data[:whole])))

    def finish(self) -> Pcm:
        """Return the remaining samples."""
        return bounded(self._resampler.feed(NOTHING, last=True))
