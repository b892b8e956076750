"""Decode compressed audio while it arrives, with FFmpeg's demuxers.

A demuxer pulls bytes, a network client pushes them; so each decoder has a thread, which blocks
inside the demuxer's read until more bytes arrive. It runs only during `feed` and `finish`.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from asr_server.audio.units import SAMPLE_RATE, Pcm
from asr_server.audio.wave import MAX_RATE, MIN_RATE
from asr_server.errors import DecodeError

NO_PROBING = {"probesize": "32", "analyzeduration": "0"}
"""Begin with the first frame instead of probing seconds of audio."""
MAX_HEADER_BYTES = 8 << 20
"""More bytes without a decoded sample are refused."""
MAX_FAULTS = 1000
"""Damaged places in one stream; more is not audio."""
MAX_FRAME = 1 << 20
GRACE_S, MIN_BYTES_PER_S = 60, 16
"""Reject decompression bombs: under 16 bytes a second after 60 s, less than any codec needs."""


class ContainerDecoder:
    """Decode one stream of compressed audio; `feed` and `finish` may take milliseconds."""

    slow = True

    def __init__(self, demuxer: str) -> None:
        self._demuxer = demuxer
        self._turn = threading.Condition()
        self._input = bytearray()
        self._received = 0
        self._ended = False
        """No more input comes."""
        self._starved = False
        """The thread waits for input."""
        self._done = False
        self._error: DecodeError | None = None
        self._pieces: list[Pcm] = []
        self._samples = 0
        self._thread = threading.Thread(target=self._run, name=f"demux {demuxer}", daemon=True)

    def feed(self, data: bytes) -> Pcm:
        """Return the samples that `data` completes. Raises DecodeError."""
        return self._serve(data, ended=False)

    def finish(self) -> Pcm:
        """Return the remaining samples. Raises DecodeError if nothing could be decoded."""
        return self._serve(b"", ended=True)

    def close(self) -> None:
        """End the thread."""
        with self._turn:
            self._ended = True
            self._input.clear()
            self._turn.notify_all()

    def _serve(self, data: bytes, *, ended: bool) -> Pcm:
        """Give the thread its input and return the samples once it needs more or has ended."""
        with self._turn:
            if self._thread.ident is None:
                self._thread.start()
            self._input += data
            self._received += len(data)
            self._ended = self._ended or ended
            self._starved = False
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._done or self._starved)
            pieces, self._pieces = self._pieces, []
            if self._error is not None:
                raise self._error
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    # The thread ---------------------------------------------------------------------------------

    def read(self, size: int) -> bytes:
        """Return at least one byte to the demuxer, or none at the end."""
        with self._turn:
            while not self._input and not self._ended:
                self._starved = True
                self._turn.notify_all()
                self._turn.wait()
            data = bytes(self._input[:size])
            del self._input[:size]
            return data

    def _run(self) -> None:
        error = None
        try:
            self._decode()
        except DecodeError as refused:
            error = refused
        except Exception as broken:  # FFmpeg's errors have many classes, none with more detail
            error = DecodeError()
            error.__cause__ = broken
        with self._turn:
            self._error = error
            self._done = True
            self._turn.notify_all()

    def _decode(self) -> None:
        import av  # loads FFmpeg, which only compressed audio needs

        with av.open(
            self, mode="r", format=self._demuxer, options=NO_PROBING, buffer_size=4096
        ) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            for packet in _packets(container):
                with contextlib.suppress(av.FFmpegError):  # damaged; the next one may be whole
                    for frame in packet.decode():
                        self._keep(resampler, frame)
                if not self._samples and self._received > MAX_HEADER_BYTES:
                    raise DecodeError
            self._keep(resampler, None)
        if not self._samples:
            raise DecodeError

    def _keep(self, resampler: Any, frame: Any) -> None:
        if frame is not None and not (
            MIN_RATE <= frame.sample_rate <= MAX_RATE and frame.samples <= MAX_FRAME
        ):
            raise DecodeError
        for resampled in resampler.resample(frame):
            samples = resampled.to_ndarray()[0]
            self._pieces.append(samples)
            self._samples += len(samples)
        if self._samples > SAMPLE_RATE * (GRACE_S + self._received / MIN_BYTES_PER_S):
            raise DecodeError


def _packets(container: Any) -> Iterator[Any]:
    """Yield the packets of the first audio stream, continuing after damaged places."""
    import av

    if not container.streams.audio:
        raise DecodeError
    for _ in range(MAX_FAULTS):
        try:
            yield from container.demux(container.streams.audio[0])
            return
        except av.FFmpegError:
            continue
    raise DecodeError
