"""Few sizes for what comes in any number.

oneDNN compiles a product anew for every number of rows it meets and keeps what it compiled, up to
half a megabyte each: a server that meets rare numbers for days grows for days
(docs/adr/0032-memory.md). So numbers are rounded up to a few, and these are compiled before the
first stream comes.
"""

ROW_DIGITS = 4
"""For the rows of a batch: exact up to 16, then at most an eighth more."""
TOKEN_DIGITS = 2
"""For its tokens, which cost little: 1, 2, 3, 4, 6, 8, 12, 16, ..."""


def rounded(count: int, digits: int) -> int:
    """The smallest number from `count` on that has only zeros behind its first binary `digits`."""
    zeros = max(0, count.bit_length() - digits)
    return -(-count >> zeros) << zeros


def sizes(most: int, digits: int) -> list[int]:
    """All such numbers from 1 up to that of `most`."""
    return sorted({rounded(count, digits) for count in range(1, most + 1)})
