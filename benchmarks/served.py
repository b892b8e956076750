"""A server in a process of its own, as a user starts it, for measurements."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 120.0
STOP_S = 30.0


class Served:
    """Where it listens and how it is stopped."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"ws://127.0.0.1:{port}/api-ws/v1/inference"

    def stop(self) -> int:
        """Ask it to stop, as a service manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextmanager
def served(log: Path, *arguments: str, **settings: str) -> Iterator[Served]:
    """`asr-server serve ARGUMENTS` with these settings in its environment; killed at the end.

    Which is also when this process is told to stop. For the main thread.
    """
    port = _free_port()
    command = [sys.executable, "-m", "asr_server.cli.main", "serve", "--host", "127.0.0.1"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")}
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*command, "--port", str(port), *arguments],
            env={**kept, **settings},
            stdout=told,
            stderr=told,
        )
    try:
        _wait_until_ready(process, port, log)
        yield Served(process, port)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        signal.signal(signal.SIGTERM, before)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    deadline = time.monotonic() + START_S
    while True:
        try:
            ask(f"http://127.0.0.1:{port}/readyz", timeout=2).close()
            return
        except OSError:
            pass
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError(f"the server does not listen; see {log}")
        time.sleep(0.1)
