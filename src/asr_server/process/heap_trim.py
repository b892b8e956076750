"""Frees what is not needed any more, and gives it back to the system.

Steps of many sizes leave holes in the C library's heaps, one heap a thread, which it keeps for
later: after a rush a server would hold for ever what the rush needed, and for days it would grow
with every rush that was a little larger.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PERIOD_S = 60.0
"""A trim takes some milliseconds, and the next steps some more to get pages anew."""


@contextmanager
def settled() -> Iterator[None]:
    """Meanwhile Python's garbage collector leaves alone what is there now.

    What a server loads are half a million objects. Among so many a collection would hold up
    everything for 0.15 s, and so Python would wait with it until a quarter as many
    have come: hundreds of connections, each of which asyncio leaves as a cycle.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # counts what is left: on that depends how soon the next one comes
    try:
        yield
    finally:
        gc.unfreeze()


async def watch() -> None:
    """Trim the heaps every period until cancelled; with other C libraries than glibc do nothing."""
    trim = _trim()
    while trim is not None:
        await asyncio.sleep(PERIOD_S)
        await asyncio.to_thread(trim, 0)


def _trim() -> "Callable[[int], int] | None":
    """glibc's `malloc_trim`, whose argument is what to keep at the top of the main heap."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return trim
