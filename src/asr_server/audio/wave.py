"""Parse RIFF headers and convert uncompressed samples."""

import struct
from dataclasses import dataclass

import numpy as np

from asr_server.audio.units import Pcm, bounded
from asr_server.errors import DecodeError

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADER_CHUNKS = 100
"""A longer header before the samples is refused."""
MAX_DATA_BYTES = 0x7F000000
"""Streaming writers give 0, 0xFFFFFFFF or about 0x7FFFFFFF as the length of their samples."""
INTEGER, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
MIN_RATE, MAX_RATE = 1000, 384_000
MAX_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Describe how samples lie in bytes, little endian."""

    rate: int
    channels: int = 1
    width: int = 2
    """Bytes of one sample of one channel."""
    floating: bool = False

    @property
    def frame(self) -> int:
        """Return the bytes of one sample of all channels."""
        return self.channels * self.width

    def mono(self, data: bytes | bytearray | memoryview) -> Pcm:
        """Return (n,) float32 in [-1, 1], the mean of the channels, from n whole frames."""
        samples: Pcm
        if self.floating:
            with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite
                samples = bounded(np.frombuffer(data, f"<f{self.width}").astype(np.float32))
        elif self.width == 1:
            samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
        elif self.width == 3:
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            samples = padded.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
        else:
            integers = np.frombuffer(data, f"<i{self.width}").astype(np.float32)
            samples = integers / np.float32(2 ** (8 * self.width - 1))
        if self.channels > 1:
            samples = samples.reshape(-1, self.channels).mean(axis=1, dtype=np.float32)
        return samples


@dataclass(frozen=True, slots=True)
class Header:
    """Hold what a RIFF header declares about the samples behind it."""

    layout: Layout
    begin: int
    """Offset of the first sample."""
    length: int | None
    """Bytes of samples, or None if the writer did not know."""


class HeaderParser:
    """Parse a header that arrives in pieces, each chunk once."""

    def __init__(self) -> None:
        self._layout: Layout | None = None
        self._chunks = 0
        self._offset = 12
        """Where the next chunk begins."""

    def parse(self, data: bytes | bytearray) -> Header | None:
        """Return the header at the beginning of `data`, or None while it is incomplete.

        `data` is what arrived so far. Raises NotUncompressedWave, and DecodeError for a header
        over the limits.
        """
        if len(data) < 12:
            return None
        if data[8:12] != b"WAVE":
            raise NotUncompressedWave
        while self._offset + 8 <= len(data):
            name, length = struct.unpack_from("<4sI", data, self._offset)
            begin = self._offset + 8
            if name == b"data":
                if self._layout is None:
                    raise NotUncompressedWave
                return Header(self._layout, begin, length if 0 < length < MAX_DATA_BYTES else None)
            if name == b"fmt ":
                if begin + min(length, 40) > len(data):
                    break
                self._layout = _parse_format(data[begin : begin + min(length, 40)])
            self._chunks += 1
            self._offset = begin + length + length % 2
            if self._offset > MAX_HEADER_BYTES or self._chunks > MAX_HEADER_CHUNKS:
                raise DecodeError(
                    f"the WAVE header has more than {MAX_HEADER_CHUNKS} chunks or"
                    f" {MAX_HEADER_BYTES // 1024} kB before its samples"
                )
        return None


class NotUncompressedWave(Exception):
    """Report that FFmpeg may know the format: A-law of telephony, ADPCM, or no audio at all."""


def _parse_format(data: bytes | bytearray) -> Layout:
    if len(data) < 16:
        raise NotUncompressedWave
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data)
    if tag == EXTENSIBLE and len(data) >= 26:
        (tag,) = struct.unpack_from("<H", data, 24)  # the first bytes of the sub-format's GUID
    supported = (tag == INTEGER and bits in (8, 16, 24, 32)) or (tag == FLOAT and bits in (32, 64))
    if not (supported and MIN_RATE <= rate <= MAX_RATE and 1 <= channels <= MAX_CHANNELS):
        raise NotUncompressedWave
    return Layout(rate, channels, bits // 8, tag == FLOAT)
