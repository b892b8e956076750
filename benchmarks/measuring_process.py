"""Run a part of a benchmark in a process of its own, and exchange JSON lines with it."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


class MeasuringProcess:
    """Run a command that reads commands on stdin and writes answers to stdout, one JSON a line."""

    def __init__(
        self, command: Sequence[str | Path], threads: int, log: Path, **environment: str
    ) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={
                **os.environ,
                # OpenMP makes its pool before the engine sets the number of threads.
                "OMP_NUM_THREADS": str(threads),
                "PYTHONPATH": os.environ.get("PYTHONPATH", os.getcwd()),
                **environment,
            },
        )

    def __enter__(self) -> "MeasuringProcess":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)
        self._log.close()

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds that the process has used; Linux only."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def send(self, **command: Any) -> None:
        """Write a command."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the next answer and return it. Raises RuntimeError, which names the log."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a measuring process ended; its log is {self._log.name}")
        return json.loads(line)
