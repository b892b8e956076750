"""The command line as a user runs it: a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "asr_server.cli"]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without anybody's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASR_", "HF_", "MODELSCOPE"))}
    return {**kept, "COLUMNS": "100", "NO_COLOR": "1", "NO_PROXY": "127.0.0.1", **variables}


def asr_server(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, from a directory without `.env`."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )


class Running:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def port(self, timeout_s: float = 60) -> int:
        """The port it listens on, once it says so."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := re.search(r"listens on ws://127\.0\.0\.1:(\d+)/", self.said):
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"it does not listen; it said:\n{self.said}")

    def stop(self) -> int:
        """Ask it to stop, as a service manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=20)
        self._reader.join()
        return status

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line


@contextmanager
def serving(*arguments: str, cwd: Path, **variables: str) -> Iterator[Running]:
    """`asr-server serve` with these arguments; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, "serve", *arguments],
        cwd=cwd,
        env=environment(**variables),
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        yield Running(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
