"""Run one attack in a process of its own and print how the server refused it, as JSON.

    python -m benchmarks.attack_process NAME ws://127.0.0.1:8000 SECONDS

The attacks are the coroutines `async def NAME(url: str) -> None` of tests/support/attacks. The
process counts HTTP statuses, close codes and the codes of task-failed below them, in websockets,
httpx2 and asyncio's streams. It connects from an address of its own where the system has one, so
that limits of an address do not apply to the clients that are measured.
"""

import asyncio
import contextlib
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import httpx2
import websockets.asyncio.client as client
from websockets.frames import Opcode

from tests.support import attacks

with contextlib.suppress(ImportError):  # Windows has no such limits
    import resource

ADDRESS = "127.0.0.9"
RETRY_S = 0.2
"""Pause before an attack that ended, or that could not connect, begins again."""
STATUS = re.compile(rb"HTTP/1\.[01] ([45]\d\d) ")
CLOSE = re.compile(rb"\x88[\x02-\x7d]([\x03\x0f][\x00-\xff])")
FAILED = re.compile(r'"error_code": ?"([\w.]+)"')

Attack: TypeAlias = Callable[[str], Coroutine[Any, Any, None]]


def find_attacks() -> dict[str, Attack]:
    """Return the public coroutine functions that need a `url` and nothing else."""
    found: dict[str, Attack] = {}
    for about in sorted(pkgutil.iter_modules(attacks.__path__), key=lambda one: one.name):
        module = importlib.import_module(f"{attacks.__name__}.{about.name}")
        for name, value in vars(module).items():
            own = inspect.iscoroutinefunction(value) and value.__module__ == module.__name__
            if own and not name.startswith("_"):
                url, *others = inspect.signature(value).parameters.values()
                if url.name == "url" and all(one.default is not one.empty for one in others):
                    found[name] = value
    return found


def count_refusals(counts: Counter[str]) -> None:
    """Count what servers answer in the connections of this process."""

    class Counted(client.ClientConnection):
        def process_event(self, event: Any) -> None:
            opening = self.response is None
            super().process_event(event)
            if opening and self.response is not None and self.response.status_code >= 400:
                counts[f"HTTP {self.response.status_code}"] += 1
            elif getattr(event, "opcode", None) is Opcode.TEXT:
                for code in FAILED.findall(bytes(event.data).decode("utf-8", "replace")):
                    counts[code] += 1

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.response is not None and self.response.status_code == 101:
                received = self.protocol.close_rcvd
                counts[f"close {received.code if received else 1006}"] += 1

    client.ClientConnection = Counted  # type: ignore[misc]

    received = asyncio.StreamReaderProtocol.data_received
    lost = asyncio.StreamReaderProtocol.connection_lost

    def data_received(self: asyncio.StreamReaderProtocol, data: bytes) -> None:
        if match := STATUS.match(data):
            counts[f"HTTP {match[1].decode()}"] += 1
        for code in CLOSE.findall(data[-127:]):
            counts[f"close {int.from_bytes(code, 'big')}"] += 1
        for name in FAILED.findall(data.decode("utf-8", "replace")):
            counts[name] += 1
        received(self, data)

    def connection_lost(self: asyncio.StreamReaderProtocol, exc: Exception | None) -> None:
        counts["TCP closed" if exc is None else "TCP reset"] += 1
        lost(self, exc)

    asyncio.StreamReaderProtocol.data_received = data_received  # type: ignore[method-assign]
    asyncio.StreamReaderProtocol.connection_lost = connection_lost  # type: ignore[method-assign]

    answered = httpx2.Response.__init__

    def answer(self: httpx2.Response, status_code: int, *args: Any, **options: Any) -> None:
        if status_code >= 400:
            counts[f"HTTP {status_code}"] += 1
        answered(self, status_code, *args, **options)

    httpx2.Response.__init__ = answer  # type: ignore[method-assign]


def connect_from(loop: asyncio.AbstractEventLoop, address: str) -> None:
    """Let every connection of a loop come from an address of this machine."""
    create_connection = loop.create_connection

    async def from_address(*args: Any, **options: Any) -> Any:
        if options.get("sock") is None:
            options["local_addr"] = options.get("local_addr") or (address, 0)
        return await create_connection(*args, **options)

    loop.create_connection = from_address  # type: ignore[method-assign]


async def attack(name: str, url: str, seconds: float) -> Counter[str]:
    """Attack a server for some seconds and return how it refused."""
    counts: Counter[str] = Counter()
    count_refusals(counts)
    if sys.platform == "linux":
        connect_from(asyncio.get_running_loop(), ADDRESS)
    chosen = find_attacks()[name]

    async def again_and_again() -> None:
        while True:
            try:
                await chosen(url)
            except Exception as error:
                counts[type(error).__name__] += 1
            await asyncio.sleep(RETRY_S)

    task = asyncio.create_task(again_and_again())
    await asyncio.wait({task}, timeout=seconds)
    refused = Counter(counts)  # what the end of the attack closes is no refusal
    for _ in range(20):
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
    return refused


def main() -> None:
    """Attack and print."""
    name, url, seconds = sys.argv[1:]
    with contextlib.suppress(NameError, OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(json.dumps(asyncio.run(attack(name, url, float(seconds)))), flush=True)


if __name__ == "__main__":
    main()
