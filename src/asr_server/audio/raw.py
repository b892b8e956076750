"""Decode uncompressed samples of a live stream, whatever lengths its WAVE headers declare.

Recorders write the header before they know the length, or one before every part that they send. So
samples go on behind the declared length, unless another chunk begins there; and a header among the
samples starts anew.
"""

from enum import Enum, auto

import numpy as np

from asr_server.audio.downmix import Downmix
from asr_server.audio.resample import Resampler
from asr_server.audio.units import Pcm, bounded
from asr_server.audio.wave import CHUNK_NAME, HeaderParser, Layout, NotUncompressedWave
from asr_server.errors import DecodeError

MARKER, MARKER_REST, MARKER_BYTES = b"RIFF", b"WAVEfmt ", 16
"""A header among samples: four bytes, a length, eight bytes."""
MAX_TRAILER_BYTES = 16 << 20
"""A chunk behind the samples that claims more is not one."""
GRACE_HEADERS, BYTES_PER_HEADER = 100, 320
"""Headers among the samples: one for 10 ms of 16-bit audio at 16 kHz."""
NOTHING: Pcm = np.zeros(0, np.float32)


class _State(Enum):
    SAMPLES = auto()
    BEHIND = auto()
    """The declared length is over."""
    HEADER = auto()


class RawDecoder:
    """Decode samples of a layout; half a sample at the end is dropped."""

    def __init__(self, layout: Layout, length: int | None = None) -> None:
        """Prepare for samples of which a header declares `length` bytes, or none."""
        self._data = b""
        self._bytes = self._headers = 0
        self._skip = 0
        """Bytes of a chunk that is no audio."""
        self._parser = HeaderParser()
        self._begin(layout, length)

    def feed(self, data: bytes) -> Pcm:
        """Return the samples that `data` completes. Raises DecodeError."""
        self._bytes += len(data)
        self._data += data
        pieces = [NOTHING]
        while self._advance(pieces):
            pass
        return np.concatenate(pieces) if len(pieces) > 2 else pieces[-1]

    def finish(self) -> Pcm:
        """Return the remaining samples."""
        pieces = [NOTHING]
        if self._state is _State.SAMPLES or not CHUNK_NAME.match(self._data):
            self._convert(len(self._data), pieces)
        self._flush(pieces)
        return np.concatenate(pieces)

    def _begin(self, layout: Layout, length: int | None) -> None:
        self._state = _State.SAMPLES
        self._layout = layout
        self._left = length
        self._odd = bool(length and length % 2)
        self._downmix = Downmix(layout.channels, layout.rate)
        self._resampler = Resampler(layout.rate)

    def _advance(self, pieces: list[Pcm]) -> bool:
        """Decode what the state allows; return whether there may be more to do."""
        step = min(self._skip, len(self._data))
        self._data, self._skip = self._data[step:], self._skip - step
        match self._state:
            case _State.SAMPLES:
                return self._samples(pieces)
            case _State.BEHIND:
                return not self._skip and len(self._data) >= MARKER_BYTES and self._behind()
            case _State.HEADER:
                return self._header(pieces)

    def _samples(self, pieces: list[Pcm]) -> bool:
        declared = len(self._data) if self._left is None else min(self._left, len(self._data))
        end = min(declared, self._marker())
        found = end < declared and len(self._data) >= end + MARKER_BYTES
        used = self._convert(end, pieces)
        if self._left is not None:
            self._left -= used
        if found:
            self._data = self._data[end - used :]
            self._state, self._parser = _State.HEADER, HeaderParser()
        elif self._left is not None and self._left < self._layout.frame and end == declared:
            rest = min(self._left, end - used)
            self._data = self._data[rest:]
            self._left -= rest
            self._state = _State.SAMPLES if self._left else _State.BEHIND
        return found or self._state is _State.BEHIND

    def _marker(self) -> int:
        """Return where a header begins, or may begin with the bytes that follow."""
        at = self._data.find(MARKER)
        while at >= 0:
            if MARKER_REST.startswith(self._data[at + 8 : at + MARKER_BYTES]):
                return at
            at = self._data.find(MARKER, at + 1)
        for size in (3, 2, 1):
            if self._data.endswith(MARKER[:size]):
                return len(self._data) - size
        return len(self._data)

    def _behind(self) -> bool:
        data = self._data
        if self._odd and not data[0] and (CHUNK_NAME.match(data, 1)):
            data = data[1:]  # the byte that pads
        size = int.from_bytes(data[4:8], "little")
        if data.startswith(MARKER) and MARKER_REST.startswith(data[8:16]):
            self._state, self._parser = _State.HEADER, HeaderParser()
            self._data = data
        elif CHUNK_NAME.match(data) and size <= MAX_TRAILER_BYTES:
            self._skip = 8 + size + size % 2
            self._data = data
        else:
            self._state, self._left = _State.SAMPLES, None
        self._odd = False
        return True

    def _header(self, pieces: list[Pcm]) -> bool:
        try:
            header = self._parser.parse(self._data)
        except NotUncompressedWave:
            raise DecodeError(
                "a WAVE header among its samples declares another codec; accepted there are PCM,"
                " A-law and µ-law"
            ) from None
        if header is None:
            return False
        self._headers += 1
        if self._headers > GRACE_HEADERS + self._bytes // BYTES_PER_HEADER:
            raise DecodeError(f"it has a WAVE header for less than {BYTES_PER_HEADER} bytes each")
        self._data = self._data[header.begin :]
        if header.layout == self._layout:
            self._state, self._left = _State.SAMPLES, header.length
            self._odd = bool(header.length and header.length % 2)
        else:
            self._flush(pieces)
            self._begin(header.layout, header.length)
        return True

    def _convert(self, end: int, pieces: list[Pcm]) -> int:
        """Decode whole frames up to an offset; return how many bytes that were."""
        whole = end - end % self._layout.frame
        if whole:
            samples = bounded(self._layout.samples(self._data[:whole]))
            pieces.append(bounded(self._resampler.feed(self._downmix.feed(samples))))
            self._data = self._data[whole:]
        return whole

    def _flush(self, pieces: list[Pcm]) -> None:
        pieces.append(bounded(self._resampler.feed(self._downmix.flush(), last=True)))
