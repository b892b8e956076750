"""The command line as a user runs it: a process of its own."""

import atexit
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "asr_server.cli.main"]
WITH_FAKE_BACKEND = [sys.executable, "-m", "tests.support.with_fake_backend"]


def environment(**variables: str) -> dict[str, str]:
    """Return this environment without settings, without admission by delay or a second pass."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASR_", "HF_", "MODELSCOPE"))}
    ours = {"COLUMNS": "100", "NO_COLOR": "1", "NO_PROXY": "127.0.0.1"}
    quick = {"ASR_MAX_DELAY_MS": "0", "ASR_SECOND_PASS": "off"}
    return {**kept, **ours, **quick, **variables}


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


_FORKING = Lock()
"""Tests launch servers from several threads, which share one fork server."""


class Forked:
    """A process of the fork server of with_fake_backend.py, with the methods of Popen in use."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        reader, stderr = os.pipe()
        self._pipe, pipe = os.pipe()
        request = json.dumps({"command": command, "environment": environment})
        with _FORKING:
            socket.send_fds(_fork_server(), [request.encode()], [stderr, pipe])
        os.close(stderr)
        os.close(pipe)
        self.stderr = open(reader, encoding="utf-8")
        with open(self._pipe, "rb", buffering=0, closefd=False) as lines:
            self.pid = int(lines.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        if self.returncode is None and select.select([self._pipe], [], [], 0)[0]:
            self.returncode = int(os.read(self._pipe, 100))
            os.close(self._pipe)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once it has ended."""
        if self.returncode is None and not select.select([self._pipe], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a forked command", timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


@cache
def _fork_server() -> socket.socket:
    """Return the socket of a process that has loaded the server's packages and runs commands."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [*WITH_FAKE_BACKEND, "--fork-server"], cwd=ROOT, env=environment(), stdin=theirs
        )

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours


class Running:
    """A server in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str] | Forked") -> None:
        self.process = process
        self.said = ""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def port(self, timeout_s: float = 60) -> int:
        """The port it listens on, once it says so."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := re.search(r"listens on ws://[\d.]+:(\d+)/", self.said):
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"it does not listen; it said:\n{self.said}")

    def stop(self) -> int:
        """Ask it to stop, as a service manager does; its exit status."""
        self.terminate()
        return self.ended()

    def terminate(self) -> None:
        """Ask it to stop, without waiting for it."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self, timeout_s: float = 20) -> int:
        """Its exit status, once it has ended."""
        status = self.process.wait(timeout=timeout_s)
        self._reader.join()
        return status

    @property
    def records(self) -> list[dict[str, Any]]:
        """What it logged, as JSON; fails if it said anything else."""
        return [json.loads(line) for line in self.said.splitlines()]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line


@contextmanager
def launched(*command: str, port: int, **variables: str) -> Iterator[Running]:
    """A server, started by any command, once it is ready; with the fake backend by default."""
    fake = {"ASR_MODEL": "fake", "ASR_HOST": "127.0.0.1", "ASR_PORT": str(port)}
    settings = environment(**{**fake, **variables})
    process: subprocess.Popen[str] | Forked
    if sys.platform == "linux":  # frameworks of macOS do not survive a fork
        process = Forked(command, settings)
    else:
        process = subprocess.Popen(
            [*WITH_FAKE_BACKEND, *command],
            cwd=ROOT,
            env=settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
    running = Running(process)
    try:
        try:
            await_state(port, "ready", while_running=process)
        except AssertionError as exc:
            raise AssertionError(running.said) from exc
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def await_state(
    port: int,
    state: str,
    timeout_s: float = 60,
    while_running: "subprocess.Popen[str] | Forked | None" = None,
) -> None:
    """Return once `/readyz` says so."""
    deadline = time.monotonic() + timeout_s
    while (said := state_of(port)) != state:
        assert time.monotonic() < deadline, f"it is {said or 'away'}, not {state}"
        assert while_running is None or while_running.poll() is None, "it ended"
        time.sleep(0.02)


def state_of(port: int) -> str:
    """What `/readyz` says, or nothing if there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return str(json.load(connection.getresponse())["status"])
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def free_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


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
