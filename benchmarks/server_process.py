"""Run a server in a process of its own, as a user starts it, for measurements."""

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


class ServerProcess:
    """Give the URL of a running server and stop it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"ws://127.0.0.1:{port}/api-ws/v1/inference"

    def stop(self) -> int:
        """Send SIGTERM, as a service manager does, and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextmanager
def server_process(
    log: Path, *arguments: str, source: Path | None = None, **settings: str
) -> Iterator[ServerProcess]:
    """Start `asr-server serve ARGUMENTS` with `ASR_` settings; kill the process at the end.

    `source` is the directory of another version's packages. SIGTERM to this process ends it too.
    For the main thread only.
    """
    port = _free_port()
    command = [sys.executable, "-m", "asr_server.cli.main", "serve", "--host", "127.0.0.1"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")}
    if source is not None:
        inherited["PYTHONPATH"] = str(source)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), *arguments],
            env={**inherited, **settings},
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_ready(process, port, log)
        yield ServerProcess(process, port)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        signal.signal(signal.SIGTERM, previous)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    get = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    deadline = time.monotonic() + START_S
    while True:
        try:
            get(f"http://127.0.0.1:{port}/readyz", timeout=2).close()
            return
        except OSError:
            pass
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError(f"the server does not listen; see {log}")
        time.sleep(0.1)
