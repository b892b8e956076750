"""Decode a task's bytes to samples: mono, 16 kHz, float32 in [-1, 1], however they are cut."""

import asyncio
from collections.abc import AsyncIterator

from asr_server.audio.decoder_pool import DecoderPool
from asr_server.audio.formats import (
    COMPANDED,
    DEMUXERS,
    HEAD_BYTES,
    ID3_HEADER_BYTES,
    MAX_HEAD_BYTES,
    MAX_TAG_BYTES,
    RAW,
    UNCOMPRESSED,
    WAVE,
    id3_bytes,
    identify,
)
from asr_server.audio.raw import RawDecoder
from asr_server.audio.remote_decoder import RemoteDecoder
from asr_server.audio.units import Pcm
from asr_server.audio.wave import ALAW, MULAW, HeaderParser, Layout, NotUncompressedWave
from asr_server.errors import DecodeError, InvalidParameter, UnsupportedFormat
from asr_server.settings import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

RAW_SLICE = 65_536
"""Bytes of uncompressed audio that are decoded on the event loop."""


class Decoder:
    """Decode one task's bytes: choose a decoder by the first ones, then leave the work to it."""

    def __init__(self, format: str, sample_rate: int, pool: DecoderPool) -> None:
        """Prepare for a declared format. Raises UnsupportedFormat, InvalidParameter."""
        if format not in UNCOMPRESSED and format not in DEMUXERS:
            raise UnsupportedFormat(format, (*UNCOMPRESSED, *DEMUXERS))
        self._format = format
        self._sample_rate = sample_rate
        self._pool = pool
        if format in UNCOMPRESSED and format != "wav":
            self._check_rate()
        self._head = bytearray()
        self._tag_left = self._tags = 0
        """Bytes of an ID3 tag in front of the audio: left, and in all."""
        self._header = HeaderParser()
        self._chosen: RawDecoder | RemoteDecoder | None = None

    async def feed(self, data: bytes) -> AsyncIterator[Pcm]:
        """Yield the samples that `data` completes. Raises DecodeError, InternalError."""
        if self._chosen is None:
            self._head += data
            data = self._choose()
        if isinstance(self._chosen, RemoteDecoder):
            async for samples in self._chosen.feed(data):
                yield samples
        elif self._chosen is not None:
            if len(data) <= RAW_SLICE:
                yield self._chosen.feed(data)
                return
            for begin in range(0, len(data), RAW_SLICE):
                yield await asyncio.to_thread(self._chosen.feed, data[begin : begin + RAW_SLICE])

    async def finish(self) -> AsyncIterator[Pcm]:
        """Yield the remaining samples; the last call but `close`. Raises DecodeError."""
        if self._chosen is None:
            data = self._choose(last=True)
            if isinstance(self._chosen, RemoteDecoder):
                async for samples in self._chosen.feed(data):
                    yield samples
            elif self._chosen is not None:
                yield self._chosen.feed(data)
        if isinstance(self._chosen, RemoteDecoder):
            async for samples in self._chosen.finish():
                yield samples
        elif self._chosen is not None:
            yield self._chosen.finish()

    def close(self) -> None:
        """Release process and buffers; may be called at any time and twice."""
        if isinstance(self._chosen, RemoteDecoder):
            self._chosen.close()

    @property
    def queueing_delay_s(self) -> float | None:
        """Return how long the last bytes waited for a processor, or None if decoded here."""
        chosen = self._chosen
        return chosen.queueing_delay_s if isinstance(chosen, RemoteDecoder) else None

    def _choose(self, *, last: bool = False) -> bytes:
        """Choose a decoder once the first bytes suffice; return the bytes it begins with.

        Raises DecodeError.
        """
        if not self._strip_tags():
            return b""
        declared = self._format
        if self._tags and declared in UNCOMPRESSED:
            declared = "mp3"
        kind = identify(bytes(self._head[:MAX_HEAD_BYTES]), declared, last=last)
        begin = 0
        if kind == WAVE:
            try:
                header = self._header.parse(self._head)
            except NotUncompressedWave:
                kind = "wav"
            else:
                if header is None:
                    return b""
                self._chosen, begin = RawDecoder(header.layout, header.length), header.begin
        elif kind == RAW:
            self._check_rate()
            self._chosen = RawDecoder(self._layout())
        if self._chosen is None:
            if kind is None or (last and len(self._head) < HEAD_BYTES):
                return b""
            self._chosen = RemoteDecoder(self._pool, kind)
        data = bytes(self._head[begin:])
        self._head.clear()
        return data

    def _strip_tags(self) -> bool:
        """Drop ID3 tags in front; return whether there is something behind them."""
        while True:
            step = min(self._tag_left, len(self._head))
            del self._head[:step]
            self._tag_left -= step
            if self._tag_left or not self._head.startswith(b"ID3"[: len(self._head)]):
                break
            if len(self._head) < ID3_HEADER_BYTES:
                return False
            self._tag_left = id3_bytes(self._head)
            self._tags += self._tag_left
            if self._tags > MAX_TAG_BYTES:
                raise DecodeError(
                    f"there is no audio in its first {MAX_TAG_BYTES >> 20} MB, but an ID3 tag of"
                    f" {self._tags >> 20} MB"
                )
        return bool(self._head)

    def _layout(self) -> Layout:
        if self._format in COMPANDED:
            encoding = {"mulaw": MULAW, "alaw": ALAW}[self._format]
            return Layout(self._sample_rate, width=1, encoding=encoding)
        return Layout(self._sample_rate)

    def _check_rate(self) -> None:
        if not MIN_SAMPLE_RATE <= self._sample_rate <= MAX_SAMPLE_RATE:
            raise InvalidParameter(
                f"Sample rate {self._sample_rate} is not supported; the parameter"
                f" 'sample_rate' is {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz."
            )
