"""Decode one stream in a process without rights, for the server at the other end of a socket.

The server sends the demuxer's name, then pieces of input, each after its length; no length ends the
input. The process answers in frames (`FRAME`): samples, and READY once it needs more input.
"""

import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
import time
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr_server.audio.units import SAMPLE_RATE, Pcm
from asr_server.errors import DecodeError

LENGTH = struct.Struct("<I")
FRAME = struct.Struct("<BfI")
"""Kind, CPU seconds since the last frame, length of what follows."""


class Kind(IntEnum):
    """What a frame to the server holds."""

    READY = 0
    """Nothing: all input was decoded."""
    SAMPLES = 1
    """float32 samples."""
    ENDED = 2
    """Nothing: no further samples come."""
    REFUSED = 3
    """UTF-8: why the audio cannot be decoded."""


NICENESS = 5
MEMORY_BYTES = 48 << 20
"""Memory of a stream beside FFmpeg itself: the index of ten hours takes 40 MB."""
STALL_CPU_S = 10
"""CPU time between two frames after which FFmpeg counts as hung."""
SET_DEATH_SIGNAL, SET_NO_NEW_PRIVILEGES = 1, 38  # prctl(2)


def warm_up() -> None:
    """Load FFmpeg and all modules that decoding needs: afterwards no file can be opened."""
    from asr_server.audio.container import Container

    silence = np.zeros(SAMPLE_RATE // 10, np.uint8).tobytes()
    fields = (b"RIFF", 36 + len(silence), b"WAVEfmt ", 16, 7, 1, 8000, 8000, 1, 8)
    header = struct.pack("<4sI8sIHHIIHH4sI", *fields, b"data", len(silence))
    pieces = iter([header + silence])
    Container("wav", lambda: next(pieces, b""), lambda samples: None).decode()


def confine(*, forked: bool) -> None:
    """Give up, as far as the system can, everything that decoding does not need.

    A process that was forked ends with its parent.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if forked:
            prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if sys.platform != "win32":
        import resource

        limits = {
            resource.RLIMIT_NOFILE: 0,  # no files, no network
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_NPROC: 0,
            resource.RLIMIT_CORE: 0,  # a core dump would contain audio
        }
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + MEMORY_BYTES
        for limit, value in limits.items():
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(limit, (value, value))


def serve(channel: socket.socket) -> None:
    """Decode the stream that comes through a socket, then return."""
    from asr_server.audio.container import Container

    output = _Output(channel)
    source = channel.makefile("rb")
    try:
        demuxer = _piece(source).decode()
        ended = False

        def receive() -> bytes:
            nonlocal ended
            if not ended:
                output.send(Kind.READY)
                _limit_stall()
                data = _piece(source)
                ended = not data
                return data
            return b""

        try:
            Container(demuxer, receive, output.samples).decode()
        except DecodeError as refused:
            output.send(Kind.REFUSED, refused.detail.encode())
        else:
            output.send(Kind.ENDED)
    except (EOFError, OSError):  # the server closed the stream
        pass


class _Output:
    """Write frames; small pieces of samples wait for those that follow."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._pieces: list[Pcm] = []
        self._waiting = 0
        self._cpu_s = time.process_time()

    def samples(self, samples: Pcm) -> None:
        self._pieces.append(samples)
        self._waiting += len(samples)
        if self._waiting >= SAMPLE_RATE:
            self._channel.sendall(self._samples())
            _limit_stall()  # a file that was kept until its end is decoded in one go

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        data = self._samples() if self._pieces else b""
        self._channel.sendall(data + self._frame(kind, payload))

    def _samples(self) -> bytes:
        payload = np.concatenate(self._pieces).tobytes()
        self._pieces.clear()
        self._waiting = 0
        return self._frame(Kind.SAMPLES, payload)

    def _frame(self, kind: Kind, payload: bytes) -> bytes:
        before, self._cpu_s = self._cpu_s, time.process_time()
        return FRAME.pack(kind, self._cpu_s - before, len(payload)) + payload


def _piece(source: BinaryIO) -> bytes:
    """Return the next piece of input. Raises EOFError."""
    (length,) = LENGTH.unpack(_exactly(source, LENGTH.size))
    return _exactly(source, length)


def _exactly(source: BinaryIO, length: int) -> bytes:
    data = source.read(length)
    if len(data) < length:
        raise EOFError
    return data


def _limit_stall() -> None:
    """Let the system end the process if FFmpeg hangs while it decodes the next input."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(time.process_time()) + 1 + STALL_CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def main() -> None:
    """Serve one stream; its socket is the standard input, on Windows a copy of it comes there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when a stream ends
    warm_up()
    if sys.platform == "win32":
        channel = socket.fromshare(_piece(sys.stdin.buffer))
    else:
        channel = socket.socket(fileno=os.dup(0))
    confine(forked=False)
    serve(channel)


if __name__ == "__main__":
    main()
