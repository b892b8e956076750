"""Return freed memory to the system, and keep garbage collections short.

Steps of many sizes leave holes in the C library's heaps (one per thread), which it keeps. After a
peak of load the process would hold the peak's memory for ever, and each higher peak would add.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PERIOD_S = 60.0
"""A trim takes some milliseconds, and the next steps as long to fault pages in again."""


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Exempt the objects that exist now from garbage collection.

    A loaded server has half a million objects, among which a collection takes 0.15 s. Python
    delays the next one until a quarter as many were added: hundreds of connections, each of which
    asyncio leaves as a reference cycle.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # counts the objects left, which decides when the next collection comes
    try:
        yield
    finally:
        gc.unfreeze()


async def watch() -> None:
    """Trim the heaps every period until cancelled; return at once without glibc."""
    trim = _malloc_trim()
    while trim is not None:
        await asyncio.sleep(PERIOD_S)
        await asyncio.to_thread(trim, 0)


def _malloc_trim() -> "Callable[[int], int] | None":
    """Return glibc's `malloc_trim`, whose argument is the free memory to keep on the main heap."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return trim
