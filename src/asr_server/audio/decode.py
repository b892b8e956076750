"""Decode a task's bytes to samples: mono, 16 kHz, float32 in [-1, 1], however they are cut.

Clients confuse `pcm` and `wav`, and declare the extension of any uploaded file; so unmistakable
first bytes decide, and otherwise the declared format.
"""

from typing import Protocol

import numpy as np

from asr_server.audio.container import ContainerDecoder
from asr_server.audio.resample import Resampler
from asr_server.audio.units import Pcm
from asr_server.audio.wave import Layout, parse_header
from asr_server.errors import DecodeError, InvalidParameter, UnsupportedFormat
from asr_server.settings import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

UNCOMPRESSED = ("pcm", "wav")
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


class Decoder(Protocol):
    """Turn one task's bytes into samples, piece by piece."""

    @property
    def slow(self) -> bool:
        """Return whether `feed` and `finish` may take milliseconds and belong in a thread."""
        ...

    def feed(self, data: bytes) -> Pcm:
        """Return the samples that `data` completes. Raises DecodeError."""
        ...

    def finish(self) -> Pcm:
        """Return the remaining samples; the last call but `close`. Raises DecodeError."""
        ...

    def close(self) -> None:
        """Release threads and buffers; may be called at any time and twice."""
        ...


def open_decoder(format: str, sample_rate: int) -> Decoder:
    """Return a decoder for a declared format. Raises UnsupportedFormat, InvalidParameter."""
    if format in UNCOMPRESSED:
        if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
            raise InvalidParameter(
                f"Sample rate {sample_rate} is not supported; it must be {MIN_SAMPLE_RATE} to"
                f" {MAX_SAMPLE_RATE} Hz."
            )
    elif format not in DEMUXERS:
        raise UnsupportedFormat(format)
    return SniffingDecoder(format, sample_rate)


class SniffingDecoder:
    """Choose a decoder by the first bytes, then leave the work to that decoder."""

    def __init__(self, format: str, sample_rate: int) -> None:
        self._format = format
        self._sample_rate = sample_rate
        self._head = bytearray()
        self._chosen: Decoder | None = None

    @property
    def slow(self) -> bool:
        return self._format not in UNCOMPRESSED if self._chosen is None else self._chosen.slow

    def feed(self, data: bytes) -> Pcm:
        if self._chosen is None:
            self._head += data
            self._chosen = self._choose() if len(self._head) >= HEAD_BYTES else None
            if self._chosen is None:
                return NOTHING
            data = bytes(self._head)
            self._head.clear()
        return self._chosen.feed(data)

    def finish(self) -> Pcm:
        if self._chosen is not None:
            return self._chosen.finish()
        if self._format not in UNCOMPRESSED or len(self._head) >= HEAD_BYTES:
            return NOTHING
        raw = RawDecoder(Layout(self._sample_rate))  # shorter than any header
        return np.concatenate([raw.feed(bytes(self._head)), raw.finish()])

    def close(self) -> None:
        if self._chosen is not None:
            self._chosen.close()

    def _choose(self) -> Decoder | None:
        """Return the decoder of the rest of the head, or None while a RIFF header is incomplete."""
        head = self._head
        if head.startswith(b"RIFF"):
            try:
                header = parse_header(head)
            except DecodeError:  # compressed (A-law of telephony, ADPCM), or no audio at all
                return ContainerDecoder("wav")
            if header is None:
                return None
            del head[: header.begin]
            return RawDecoder(header.layout, header.length)
        if head[4:8] == b"ftyp":
            return ContainerDecoder("mov")
        for signature, demuxer in SIGNATURES.items():
            if head.startswith(signature):
                return ContainerDecoder(demuxer)
        if self._format in UNCOMPRESSED:
            return RawDecoder(Layout(self._sample_rate))
        return ContainerDecoder(DEMUXERS[self._format])


class RawDecoder:
    """Decode uncompressed samples, of `length` bytes if that is known; bytes behind are no audio.

    Half a sample at the end is dropped.
    """

    slow = False

    def __init__(self, layout: Layout, length: int | None = None) -> None:
        self._layout = layout
        self._resampler = Resampler(layout.rate)
        self._rest = b""
        self._left = length

    def feed(self, data: bytes) -> Pcm:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        data = self._rest + data
        whole = len(data) - len(data) % self._layout.frame
        self._rest = data[whole:]
        return self._resampler.feed(self._layout.mono(data[:whole]))

    def finish(self) -> Pcm:
        return self._resampler.feed(NOTHING, last=True)

    def close(self) -> None:
        pass
