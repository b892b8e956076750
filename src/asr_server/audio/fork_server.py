"""Fork a decoder process for every stream, from a process that has loaded FFmpeg once.

A fork takes 3 ms and shares FFmpeg's memory; a new interpreter takes 300 ms and 40 MB. The server
itself must not fork: it has threads. This process has one thread and no secrets. Linux only:
macOS's frameworks do not survive a fork.

The socket on the standard input carries commands (`COMMAND`) and, for processes that died, answers:
the stream's number and how its process ended.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import struct
from pathlib import Path

from asr_server.audio.decoder_process import confine, serve, warm_up

COMMAND = struct.Struct("<cQ")
"""OPEN with the stream's socket, or KILL; the stream's number."""
OPEN, KILL = b"O", b"K"
NUMBER = struct.Struct("<Q")
OOM_SCORE = "500"
"""If the machine runs out of memory, decoders end before the server does."""


class ForkServer:
    """Keep the processes of open streams."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._processes: dict[int, int] = {}
        """The process of each stream."""
        self._streams: dict[int, int] = {}
        """The stream of each process, unless the server has closed it."""

    def run(self) -> None:
        """Serve until the server closes the control socket or ends."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        while True:
            readable, _, _ = select.select([self._control.fileno(), woken], [], [])
            if woken in readable:
                os.read(woken, 4096)
                self._reap()
            if self._control.fileno() in readable:
                command, fds, _, _ = socket.recv_fds(self._control, COMMAND.size, 1)
                if not command:
                    break
                kind, stream = COMMAND.unpack(command)
                if kind == OPEN:
                    self._fork(stream, socket.socket(fileno=fds[0]))
                else:
                    self._kill(stream)
        for stream in list(self._processes):
            self._kill(stream)

    def _fork(self, stream: int, channel: socket.socket) -> None:
        with channel:
            try:
                process = os.fork()
            except OSError as error:
                self._report(stream, f"fork: {error.strerror}")
                return
            if not process:
                status = 1
                try:
                    self._become_decoder(channel)
                    status = 0
                finally:
                    os._exit(status)
        self._processes[stream] = process
        self._streams[process] = stream

    def _become_decoder(self, channel: socket.socket) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):  # 0 is the control socket
            os.dup2(nothing, fd)
        confine(forked=True)
        serve(channel)

    def _kill(self, stream: int) -> None:
        if process := self._processes.get(stream):
            os.kill(process, signal.SIGKILL)
            self._streams.pop(process, None)

    def _reap(self) -> None:
        while self._processes:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            self._processes = {s: p for s, p in self._processes.items() if p != process}
            stream = self._streams.pop(process, None)
            if stream is not None and status:
                code = os.waitstatus_to_exitcode(status)
                how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                self._report(stream, how)

    def _report(self, stream: int, how: str) -> None:
        with contextlib.suppress(OSError):  # the server is gone or does not read
            self._control.send(NUMBER.pack(stream) + how.encode(), socket.MSG_DONTWAIT)


def main() -> None:
    """Serve the server at the other end of the standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the server drains, and ends this process
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    warm_up()
    gc.collect()
    gc.freeze()  # a collection would copy the pages shared with all decoders
    ForkServer(socket.socket(fileno=0)).run()


if __name__ == "__main__":
    main()
