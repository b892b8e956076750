"""Have file descriptors for every connection, and stay quiet while there are none."""

import asyncio
import contextlib
import errno
import logging
import sys
from typing import Any

from asr_server.observability.logs import OncePerMinute

log = logging.getLogger(__name__)

RESERVED = 64
"""Descriptors for the model, the database, the log, decoder processes and pipes."""

OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def max_sockets(max_connections: int) -> int:
    """Return how many sockets may be open: two per connection, if the system allows so many.

    Raises the process's limit of file descriptors to the hard limit first.
    """
    wanted = 2 * max_connections
    allowed = _raise_limit()
    if allowed is None or allowed >= wanted + RESERVED:
        return wanted
    log.warning(
        "only %d file descriptors for %d connections: raise `ulimit -n`, LimitNOFILE or `ulimits` "
        "to %d, or lower ASR_MAX_CONNECTIONS",
        allowed,
        max_connections,
        wanted + RESERVED,
    )
    return max(allowed - RESERVED, 1)


def _raise_limit() -> int | None:
    """Raise the soft limit of file descriptors; return it, or None where there is none."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    for limit in (hard, 10_240):  # macOS refuses more than 10 240 where the limit is infinite
        if soft != unlimited and (limit == unlimited or limit > soft):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                soft = limit
    return None if soft == unlimited else soft


def log_seldom(loop: asyncio.AbstractEventLoop) -> None:
    """Log that no descriptor is left once a minute; asyncio logs a stack for each attempt."""
    seldom = OncePerMinute(log, logging.ERROR)
    former = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS:
            seldom("no connection is accepted: %s", error.strerror)
        elif former is not None:
            former(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
