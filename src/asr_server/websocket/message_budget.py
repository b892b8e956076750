"""Bound the messages of a connection: their size, their rate, and how many are parsed at once.

A frame costs the event loop about 40 µs whatever it contains, so tiny frames are the cheapest way
to keep the loop busy. Frames are counted before the WebSocket library parses them.
"""

from typing import NamedTuple

from asr_server.errors import MessageTooLong, TooManyMessages

MAX_FRAMES, MAX_BYTES = 32, 65_536
"""Frames, and bytes of complete frames, that are parsed in one go: about 1 ms."""

BYTES_PER_MESSAGE = 160
"""Audio that pays for one message: 5 ms of PCM at 16 kHz, 10 ms at 8 kHz."""

TEXT_BYTES_PER_MESSAGE = 1024
"""Text that costs as much as one message: parsing JSON takes time."""

BURST_S = 20
"""Messages of these seconds may come at once: after an interrupted network, clients catch up."""

CONTINUATION, TEXT, BINARY = 0, 1, 2


class Frame(NamedTuple):
    """Hold what a frame's header states."""

    opcode: int
    final: bool
    length: int
    """Bytes of payload."""


class FrameScanner:
    """Find where the frames of one connection begin and end, without parsing their payload."""

    def __init__(self) -> None:
        self._missing = 0
        """Bytes of the last frame's payload that have not yet arrived."""

    def scan(self, data: bytearray) -> tuple[int, list[Frame]]:
        """Return how much of `data` to parse now, and the frames that begin in this part.

        The part ends with a frame or with the data. A header is never split: while its end has not
        arrived, nothing of it belongs to the part.
        """
        size = min(self._missing, len(data))
        self._missing -= size
        frames: list[Frame] = []
        while len(frames) < MAX_FRAMES and size < MAX_BYTES and size + 2 <= len(data):
            first, second = data[size], data[size + 1]
            begin, length = size + 2, second & 0x7F
            if length >= 126:
                begin += 2 if length == 126 else 8
                length = int.from_bytes(data[size + 2 : begin], "big")
            begin += 4 if second & 0x80 else 0  # the masking key
            if begin > len(data):
                break
            frames.append(Frame(first & 0x0F, bool(first & 0x80), length))
            size = min(begin + length, len(data))
            self._missing = begin + length - size
        return size, frames


class MessageBudget:
    """Hold a token bucket for one connection: a frame takes a token, audio brings some.

    Frames of 160 bytes and more are free, at any rate: backpressure limits those. `per_second` 0
    allows any rate.
    """

    def __init__(self, per_second: float, max_bytes: int, now: float) -> None:
        self._per_second = per_second
        self._max_bytes = max_bytes
        self._capacity = per_second * BURST_S
        self._tokens = self._capacity
        self._counted_at = now
        self._opcode = BINARY
        self._message_bytes = 0
        """Of the message whose last fragment has not yet come."""
        self.audio_as_text = False
        """Whether audio comes inside of text, so that only its reader knows what a text costs."""

    def spend(self, frames: list[Frame], now: float) -> None:
        """Take the tokens of frames. Raises MessageTooLong, TooManyMessages."""
        tokens = self._tokens + (now - self._counted_at) * self._per_second
        self._counted_at = now
        for frame in frames:
            tokens = min(tokens, self._capacity) - self._cost(frame)
        self._tokens = tokens
        if tokens < 0 < self._per_second:
            raise TooManyMessages(self._per_second)

    def text_read(self, text_bytes: int, audio_bytes: int) -> None:
        """Count what a text held, where audio comes as text: its next frame may be refused."""
        other = max(0.0, text_bytes - 4 / 3 * audio_bytes)
        gain = audio_bytes / BYTES_PER_MESSAGE - other / TEXT_BYTES_PER_MESSAGE
        self._tokens = min(self._tokens + gain, self._capacity)

    def _cost(self, frame: Frame) -> float:
        if frame.opcode > BINARY:
            return 1.0  # a ping, a pong, a close
        if frame.opcode != CONTINUATION:
            self._opcode, self._message_bytes = frame.opcode, 0
        self._message_bytes += frame.length
        if self._message_bytes > self._max_bytes:
            raise MessageTooLong(self._max_bytes)
        if self._opcode == TEXT and self.audio_as_text:
            return 1.0
        if self._opcode == TEXT:
            return 1 + frame.length / TEXT_BYTES_PER_MESSAGE
        return 1 - frame.length / BYTES_PER_MESSAGE
