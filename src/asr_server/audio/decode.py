"""A task's bytes to samples: mono, 16 kHz, float32 in [-1, 1], however the bytes are cut.

Clients mix up `pcm` and `wav` both ways, and declare the extension of whatever was uploaded; so
where the first bytes are unmistakable they decide, and the declared format where they are not.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asr_server.audio.container import ContainerDecoder
from asr_server.audio.resample import Resampler
from asr_server.audio.wave import Layout, parse_header
from asr_server.errors import DecodeError, InvalidParameter, UnsupportedFormat

LOWEST_RATE, HIGHEST_RATE = 8000, 48_000
"""Hz that a task may declare for samples without a header."""

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
"""FFmpeg's demuxer for what a task declares."""
HEAD = 12
"""Bytes that tell what the rest is."""
BEGINNINGS = {
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"#!AMR": "amr",
    b"\x1aE\xdf\xa3": "matroska",
    b"ID3": "mp3",
}
"""First bytes that no recording has by chance, and their demuxer."""

Pcm = NDArray[np.float32]
NOTHING: Pcm = np.zeros(0, np.float32)


class Decoder(Protocol):
    """Turns one task's bytes into samples, piece by piece."""

    @property
    def slow(self) -> bool:
        """Whether `feed` and `finish` may take so long that they belong in a worker thread."""
        ...

    def feed(self, data: bytes) -> Pcm:
        """The samples that `data` completes. Raises DecodeError."""
        ...

    def finish(self) -> Pcm:
        """What is left inside; nothing may be fed afterwards. Raises DecodeError."""
        ...

    def close(self) -> None:
        """Nothing more is wanted; may be called at any time and twice."""
        ...


def open_decoder(format: str, sample_rate: int) -> Decoder:
    """A decoder for what a task declares. Raises UnsupportedFormat, InvalidParameter."""
    if format not in UNCOMPRESSED and format not in DEMUXERS:
        raise UnsupportedFormat(format)
    if format in UNCOMPRESSED and not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise InvalidParameter(
            f"Sample rate {sample_rate} is not supported; it must be {LOWEST_RATE} to"
            f" {HIGHEST_RATE} Hz."
        )
    return SniffingDecoder(format, sample_rate)


class SniffingDecoder:
    """Looks at the first bytes, then leaves the work to the decoder they call for."""

    def __init__(self, format: str, sample_rate: int) -> None:
        self._format = format
        self._sample_rate = sample_rate
        self._head = b""
        self._chosen: Decoder | None = None

    @property
    def slow(self) -> bool:
        """Before the first bytes, as slow as the format declared."""
        return self._format not in UNCOMPRESSED if self._chosen is None else self._chosen.slow

    def feed(self, data: bytes) -> Pcm:
        """The samples that `data` completes. Raises DecodeError."""
        if self._chosen is None:
            self._head += data
            if len(self._head) < HEAD:
                return NOTHING
            self._chosen, data = self._choose(), self._head
        return self._chosen.feed(data)

    def finish(self) -> Pcm:
        """What is left inside. Raises DecodeError."""
        if self._chosen is not None:
            return self._chosen.finish()
        if self._format not in UNCOMPRESSED:
            return NOTHING
        raw = RawDecoder(Layout(self._sample_rate))  # shorter than any header
        return np.concatenate([raw.feed(self._head), raw.finish()])

    def close(self) -> None:
        """Nothing more is wanted."""
        if self._chosen is not None:
            self._chosen.close()

    def _choose(self) -> Decoder:
        head = self._head
        if head.startswith(b"RIFF"):
            return RiffDecoder()
        if head[4:8] == b"ftyp":
            return ContainerDecoder("mov")
        for beginning, demuxer in BEGINNINGS.items():
            if head.startswith(beginning):
                return ContainerDecoder(demuxer)
        if self._format in UNCOMPRESSED:
            return RawDecoder(Layout(self._sample_rate))
        return ContainerDecoder(DEMUXERS[self._format])


class RawDecoder:
    """Samples without a header."""

    slow = False

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._resampler = Resampler(layout.rate)
        self._rest = b""

    def feed(self, data: bytes) -> Pcm:
        """The samples that `data` completes."""
        data = self._rest + data
        whole = len(data) - len(data) % self._layout.frame
        self._rest = data[whole:]
        return self._resampler.feed(self._layout.mono(data[:whole]))

    def finish(self) -> Pcm:
        """What is left in the resampler; half a sample is dropped."""
        return self._resampler.feed(NOTHING, last=True)

    def close(self) -> None:
        """There is nothing to close."""


class RiffDecoder:
    """Samples behind a RIFF header, of the length it tells if it tells one."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._samples: Decoder | None = None
        self._left: int | None = None
        """Bytes of samples to come; what follows them is not audio."""

    @property
    def slow(self) -> bool:
        """Only if the samples are compressed after all."""
        return self._samples is not None and self._samples.slow

    def feed(self, data: bytes) -> Pcm:
        """The samples that `data` completes. Raises DecodeError."""
        if self._samples is None:
            self._header += data
            try:
                header = parse_header(self._header)
            except DecodeError:  # not PCM: telephony's A-law, an ADPCM, or nonsense
                self._samples, data = ContainerDecoder("wav"), bytes(self._header)
                return self._samples.feed(data)
            if header is None:
                return NOTHING
            self._samples, self._left = RawDecoder(header.layout), header.length
            data = bytes(self._header[header.begin :])
            self._header.clear()
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return self._samples.feed(data)

    def finish(self) -> Pcm:
        """What is left inside."""
        return NOTHING if self._samples is None else self._samples.finish()

    def close(self) -> None:
        """Nothing more is wanted."""
        if self._samples is not None:
            self._samples.close()
