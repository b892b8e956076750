"""Start the decoder processes of compressed streams and end them.

One process for each stream: a crash, a memory bomb or a slow codec costs only its own task, and the
system's scheduler shares the processors fairly. On Linux a fork server starts them
(`fork_server`), elsewhere an interpreter each, of which some are kept ready.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from asr_server.audio.decoder_process import LENGTH
from asr_server.errors import ServiceUnavailable

log = logging.getLogger(__name__)

SPARES = 2
"""Processes kept ready where starting one takes 300 ms."""
STATUS_WAIT_S = 0.5
"""How long the fork server may take to report how a process ended."""
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "LANG")
"""What a decoder inherits; everything else may be a secret."""


@dataclass(frozen=True, slots=True)
class Process:
    """Hold a decoder process, and this end of its socket."""

    channel: socket.socket
    kill: Callable[[], None]
    """Ends the process; may be called twice."""
    status: Callable[[], Awaitable[str | None]]
    """Returns how the process died, or None if that is not known."""


class DecoderPool(Protocol):
    """Start decoder processes; used by one event loop at a time."""

    def start(self) -> None:
        """Prepare, so that the first stream need not wait."""
        ...

    async def open(self) -> Process:
        """Return a new process. Raises OSError, ServiceUnavailable."""
        ...

    def close(self) -> None:
        """End all processes; a further `open` starts anew."""
        ...


def decoder_pool() -> DecoderPool:
    """Return the pool that suits this system."""
    return ForkPool() if sys.platform == "linux" else SpawnPool()


class ForkPool:
    """Let the fork server start processes; start the fork server again if it died."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket
        self._numbers = itertools.count(1)
        self._statuses: dict[int, str] = {}

    def start(self) -> None:
        if self._server is not None:
            if self._server.poll() is None:
                return
            log.error("the decoders' fork server died; their streams fail")
            self.close()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            self._server = _start("asr_server.audio.fork_server", theirs.fileno())

    async def open(self) -> Process:
        from asr_server.audio import fork_server

        self.start()
        stream = next(self._numbers)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                command = fork_server.COMMAND.pack(fork_server.OPEN, stream)
                socket.send_fds(self._control, [command], [theirs.fileno()])
            except BlockingIOError:  # hundreds of streams wait for their process
                ours.close()
                raise ServiceUnavailable from None

        def kill() -> None:
            with contextlib.suppress(OSError):
                self._control.send(fork_server.COMMAND.pack(fork_server.KILL, stream))

        return Process(ours, kill, lambda: self._status(stream))

    def close(self) -> None:
        if self._server is not None:
            self._control.close()
            self._server.kill()  # its children end with it
            self._server.wait()
            self._server = None

    @property
    def server_id(self) -> int | None:
        """Return the fork server's process id."""
        return self._server.pid if self._server else None

    async def _status(self, stream: int) -> str | None:
        from asr_server.audio.fork_server import NUMBER

        deadline = asyncio.get_running_loop().time() + STATUS_WAIT_S
        while asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(OSError):
                while report := self._control.recv(256):
                    (number,) = NUMBER.unpack_from(report)
                    self._statuses[number] = report[NUMBER.size :].decode()
            if stream in self._statuses:
                status = self._statuses.pop(stream)
                if len(self._statuses) > 1000:  # of streams that were closed at the same time
                    self._statuses.clear()
                return status
            await asyncio.sleep(0.01)
        return None


class SpawnPool:
    """Start an interpreter for every stream, ahead of time."""

    def __init__(self, spares: int = SPARES) -> None:
        self._target = spares
        self._spares: deque[tuple[socket.socket, subprocess.Popen[bytes]]] = deque()
        self._ending: list[subprocess.Popen[bytes]] = []
        self._open: set[subprocess.Popen[bytes]] = set()
        self._running = False

    def start(self) -> None:
        self._running = True
        self._fill()

    async def open(self) -> Process:
        self._running = True
        self._ending = [process for process in self._ending if process.poll() is None]
        channel, process = self._spares.popleft() if self._spares else self._spawn()
        asyncio.get_running_loop().call_soon(self._fill)
        self._open.add(process)

        def kill() -> None:
            process.kill()
            if process in self._open:
                self._open.remove(process)
                self._ending.append(process)

        async def status() -> str:
            code = await asyncio.to_thread(process.wait)
            return f"exit status {code}"

        return Process(channel, kill, status)

    def close(self) -> None:
        self._running = False
        for channel, process in self._spares:
            channel.close()
            self._ending.append(process)
        self._spares.clear()
        self._ending += self._open
        self._open.clear()
        for process in self._ending:
            process.kill()
            process.wait()
        self._ending.clear()

    def _spawn(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            if sys.platform != "win32":
                return ours, _start("asr_server.audio.decoder_process", theirs.fileno())
            process = _start("asr_server.audio.decoder_process", subprocess.PIPE)
            assert process.stdin is not None
            with process.stdin as pipe:
                copy = theirs.share(process.pid)
                pipe.write(LENGTH.pack(len(copy)) + copy)
            return ours, process

    def _fill(self) -> None:
        while self._running and len(self._spares) < self._target:
            self._spares.append(self._spawn())


def _start(module: str, stdin: int) -> "subprocess.Popen[bytes]":
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        env={
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",  # a process that forks must have one thread
            "OMP_NUM_THREADS": "1",
        },
    )
