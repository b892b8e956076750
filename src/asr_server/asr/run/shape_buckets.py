"""Round the sizes of batches up to a few.

oneDNN compiles a product anew for every number of rows and keeps what it compiled, up to half a
megabyte each: with rare sizes, memory grows for days (docs/adr/0032-memory.md). So sizes are
rounded up to those of a few buckets, which the warm-up compiles before the first stream comes.
"""

import torch.nn.functional as F
from torch import Tensor

ROW_DIGITS = 4
"""For the rows of a batch: exact up to 16, then at most an eighth more."""
TOKEN_DIGITS = 2
"""For the tokens of a batch, which cost little: 1, 2, 3, 4, 6, 8, 12, 16, ..."""


def bucket(count: int, digits: int) -> int:
    """Return the smallest size from `count` on that is zero behind its first binary `digits`."""
    zeros = max(0, count.bit_length() - digits)
    return -(-count >> zeros) << zeros


def buckets(most: int, digits: int) -> list[int]:
    """Return the sizes of all buckets from 1 up to that of `most`."""
    return sorted({bucket(count, digits) for count in range(1, most + 1)})


def pad_to_bucket(indices: Tensor, digits: int) -> Tensor:
    """Return `indices` (N,), N > 0, padded with the first of them to the size of their bucket."""
    count = len(indices)
    return F.pad(indices, (0, bucket(count, digits) - count), value=int(indices[0]))
