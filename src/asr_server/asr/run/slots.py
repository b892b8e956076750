"""Which row of the state tensors belongs to which stream."""

from asr_server.asr.types import StreamId

SPARE = 0
"""The row that is nobody's: what was computed for nothing is written there. Zero, so that a slot
multiplied with whether something counts is where it belongs."""


class SlotTable:
    """Gives every open stream a row of its own; one thread only opens and closes."""

    def __init__(self, size: int) -> None:
        """Of `size` rows, the spare one included."""
        self._free = list(range(size - 1, SPARE, -1))
        self._rows: dict[StreamId, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def open(self, stream: StreamId) -> None:
        """Take a row, once; raises `IndexError` when none is free."""
        if stream not in self._rows:  # a step that failed is repeated
            self._rows[stream] = self._free.pop()

    def close(self, stream: StreamId) -> None:
        """Give the row back; a stream that never had one is fine."""
        row = self._rows.pop(stream, None)
        if row is not None:
            self._free.append(row)

    def __getitem__(self, stream: StreamId) -> int:
        return self._rows[stream]
