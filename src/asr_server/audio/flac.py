"""Cut a FLAC stream into its frames as they arrive.

FFmpeg's parser waits for ten further frames before it passes one on, which delays live text by
three seconds. A frame ends where the header of the next one begins (RFC 9639, section 9).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

MARKER = b"fLaC"
STREAM_INFO_BYTES = 34
MAX_FRAME_BYTES = 4 << 20
"""More bytes without the header of a frame are damaged."""
SHORTEST_FRAME = 9
LONGEST_HEADER = 16
POLYNOMIAL = 0x07


@dataclass(frozen=True, slots=True)
class Frame:
    """Hold a frame, where it begins, and the stream it belongs to."""

    stream_info: bytes
    data: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class _Header:
    key: tuple[int, int]
    """What is the same in all frames of a stream: strategy, and rate with sample size."""
    number: int
    block: int
    """Samples."""


class FlacFrames:
    """Iterate over the frames of what `receive` returns; no bytes end it."""

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._data = bytearray()
        self._ended = False
        self._stream_info = b""
        self._rate = 0
        self._block = 0
        """Samples in every frame but the last, in a stream of fixed blocks."""

    def __iter__(self) -> Iterator[Frame]:
        while self._read_stream_header():
            yield from self._frames()

    def _frames(self) -> Iterator[Frame]:
        """Yield frames up to the end, or to the header of a further stream."""
        at = 0
        current: _Header | None = None
        while True:
            begin, following = self._next(at, current)
            if current is not None and begin > 0:
                if frame := self._frame(current, bytes(self._data[:begin])):
                    yield frame
            del self._data[:begin]
            if following is None:
                return
            current, at = following, SHORTEST_FRAME

    def _frame(self, header: _Header, data: bytes) -> Frame | None:
        if not self._block:
            self._block = header.block
        first = header.number if header.key[0] else header.number * self._block
        return Frame(self._stream_info, data, first / self._rate)

    def _next(self, at: int, current: _Header | None) -> tuple[int, _Header | None]:
        """Return where the next frame begins and its header, or where the stream ends."""
        while True:
            sync = self._data.find(b"\xff", at)
            stream = self._data.find(MARKER, at)
            if stream >= 0 and (sync < 0 or stream < sync):
                return stream, None
            known = len(self._data) if sync < 0 else sync
            if known > MAX_FRAME_BYTES:
                del self._data[:known]
                at, current = 0, None
            elif sync < 0 or (not self._ended and sync + LONGEST_HEADER > len(self._data)):
                at = max(at, known - len(MARKER) + 1)
                if not self._more() and sync < 0:
                    return len(self._data), None
                continue
            head = bytes(self._data[sync : sync + LONGEST_HEADER])
            header = _parse(head.ljust(LONGEST_HEADER, b"\0"))
            if header and (
                current is None or (header.key == current.key and header.number > current.number)
            ):
                return sync, header
            at = sync + 1

    def _read_stream_header(self) -> bool:
        """Read up to the first frame; return whether there is a stream."""
        while (at := self._data.find(MARKER)) < 0:
            del self._data[: -len(MARKER) + 1]
            if not self._more():
                return False
        del self._data[: at + len(MARKER)]
        self._stream_info, self._block = b"", 0
        last = False
        while not last:
            block = self._take(4)
            if len(block) < 4:
                return False
            last, kind, length = block[0] >= 128, block[0] & 127, int.from_bytes(block[1:], "big")
            if kind == 0 and length == STREAM_INFO_BYTES:
                self._stream_info = self._take(length)
                self._rate = int.from_bytes(self._stream_info[10:13], "big") >> 4
            else:
                self._skip(length)
        return bool(self._stream_info and self._rate)

    def _take(self, size: int) -> bytes:
        while len(self._data) < size and self._more():
            pass
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def _skip(self, size: int) -> None:
        while size > 0:
            step = min(size, len(self._data))
            del self._data[:step]
            size -= step
            if size and not self._more():
                return

    def _more(self) -> bool:
        if not self._ended:
            data = self._receive()
            self._data += data
            self._ended = not data
        return not self._ended


def _parse(data: bytes) -> _Header | None:
    """Return the frame header in the first 16 bytes, or None if there is none."""
    if data[0] != 0xFF or data[1] & 0xFE != 0xF8 or data[3] & 1:
        return None
    size_code, rate_code = data[2] >> 4, data[2] & 15
    if not size_code or rate_code == 15 or data[3] >> 4 > 10:
        return None
    ones = 8 - (data[4] ^ 0xFF).bit_length()
    if ones == 1 or ones == 8:
        return None
    number = data[4] & (0x7F >> ones)
    end = 5
    for _ in range(ones - 1):
        if data[end] & 0xC0 != 0x80:
            return None
        number = number << 6 | data[end] & 0x3F
        end += 1
    block = _BLOCKS[size_code]
    if size_code in (6, 7):
        width = size_code - 5
        block = int.from_bytes(data[end : end + width], "big") + 1
        end += width
    end += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    crc = 0
    for byte in data[:end]:
        crc = _CRC[crc ^ byte]
    if end >= LONGEST_HEADER or crc != data[end]:
        return None
    key = (data[1] & 1, rate_code << 8 | data[3] & 15)
    return _Header(key, number, block)


def _crc(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 ^ (0x100 | POLYNOMIAL if byte & 0x80 else 0)
    return byte


_CRC = [_crc(byte) for byte in range(256)]
_BLOCKS = [0, 192, *(576 << n for n in range(4)), 0, 0, *(256 << n for n in range(8))]
