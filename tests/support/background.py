"""A server on a thread and event loop of its own, shared by tests whose clients block."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from threading import Thread
from typing import Any

from tests.support.serving import Served, serving


@contextmanager
def serving_on_a_thread(**settings: Any) -> Iterator[Served]:
    """Run a server with these settings until the block ends."""
    started: Queue[tuple[Served, asyncio.AbstractEventLoop, asyncio.Event] | BaseException] = (
        Queue()
    )

    async def serve() -> None:
        stop = asyncio.Event()
        async with serving(**settings) as served:
            started.put((served, asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as exc:
            started.put(exc)
            raise

    thread = Thread(target=run, name="server")
    thread.start()
    outcome = started.get()
    if isinstance(outcome, BaseException):
        raise RuntimeError("the server did not start") from outcome
    served, loop, stop = outcome
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
