"""The audio that a reconnection would have to send again."""

from __future__ import annotations


class AudioBuffer:
    """Audio from the last final on, addressed by its byte position in the stream."""

    def __init__(self) -> None:
        self.base = 0
        self._kept = bytearray()

    @property
    def end(self) -> int:
        return self.base + len(self._kept)

    def append(self, data: bytes) -> None:
        self._kept += data

    def read(self, position: int, size: int) -> bytes:
        start = position - self.base
        return bytes(self._kept[start : start + size])

    def discard_before(self, position: int) -> None:
        position = max(self.base, min(position, self.end))
        del self._kept[: position - self.base]
        self.base = position
