"""A server in a process of its own, as a user starts it, for measurements."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 120.0
STOP_S = 30.0


class Served:
    """Where it listens and how it is stopped."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.url = f"ws://127.0.0.1:{self._port()}/api-ws/v1/inference"

    def stop(self) -> int:
        """Ask it to stop, as a service manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def _port(self) -> int:
        deadline = time.monotonic() + START_S
        while True:
            said = self.log.read_text("utf-8", errors="replace")
            if found := re.search(r"listens on ws://127\.0\.0\.1:(\d+)/", said):
                return int(found[1])
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"the server does not listen; see {self.log}")
            time.sleep(0.1)


@contextmanager
def served(log: Path, *arguments: str, **settings: str) -> Iterator[Served]:
    """`asr-server serve ARGUMENTS` with these settings in its environment; killed at the end."""
    command = [sys.executable, "-m", "asr_server.cli", "serve", "--host", "127.0.0.1"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")}
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*command, "--port", "0", *arguments],
            env={**kept, "NO_COLOR": "1", "COLUMNS": "200", **settings},
            stdout=told,
            stderr=told,
        )
    try:
        yield Served(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
