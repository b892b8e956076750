"""Compressed audio, decoded while it arrives: FFmpeg's demuxers on a pipe.

A demuxer pulls bytes, a network client pushes them; so each decoder has a thread that sleeps inside
the demuxer's read until the next bytes come. It runs only while `feed` or `finish` waits for it.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_server.audio.units import SAMPLE_RATE
from asr_server.errors import DecodeError

Pcm = NDArray[np.float32]

EAGER = {"probesize": "32", "analyzeduration": "0"}
"""Begin with the first frame instead of collecting seconds to look at."""
LONGEST_HEADER = 8 << 20
"""Bytes without any sound, from here on refused."""
MOST_FAULTS = 1000
"""Damaged places in one stream; more is not audio."""
LONGEST_FRAME, LOWEST_RATE, HIGHEST_RATE = 1 << 20, 1000, 384_000
GRACE_S, LEAST_BYTES_PER_S = 60, 16
"""Sound that takes fewer bytes than any codec needs, after the first minute, is a bomb."""


class ContainerDecoder:
    """Decodes one stream of compressed audio; `feed` and `finish` may take milliseconds."""

    slow = True

    def __init__(self, demuxer: str) -> None:
        self._demuxer = demuxer
        self._turn = threading.Condition()
        self._input = bytearray()
        self._received = 0
        self._ended = False
        """No more input comes."""
        self._hungry = False
        """The thread waits for input."""
        self._done = False
        self._error: DecodeError | None = None
        self._pieces: list[Pcm] = []
        self._samples = 0
        self._thread = threading.Thread(target=self._run, name=f"demux {demuxer}", daemon=True)

    def feed(self, data: bytes) -> Pcm:
        """The samples that `data` completes. Raises DecodeError."""
        return self._serve(data, ended=False)

    def finish(self) -> Pcm:
        """What is left inside. Raises DecodeError if nothing at all could be decoded."""
        return self._serve(b"", ended=True)

    def close(self) -> None:
        """Let the thread end; nothing more is wanted of it."""
        with self._turn:
            self._ended = True
            self._input.clear()
            self._turn.notify_all()

    def _serve(self, data: bytes, *, ended: bool) -> Pcm:
        """Give the thread its input and wait until it has made of it what it can."""
        with self._turn:
            if self._thread.ident is None:
                self._thread.start()
            self._input += data
            self._received += len(data)
            self._ended = self._ended or ended
            self._hungry = False
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._done or self._hungry)
            pieces, self._pieces = self._pieces, []
            if self._error is not None:
                raise self._error
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    # The thread ---------------------------------------------------------------------------------

    def read(self, size: int) -> bytes:
        """For the demuxer: at least one byte, or none at the end."""
        with self._turn:
            while not self._input and not self._ended:
                self._hungry = True
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
        except Exception as broken:  # FFmpeg's errors have many classes, none with more to say
            error = DecodeError()
            error.__cause__ = broken
        with self._turn:
            self._error = error
            self._done = True
            self._turn.notify_all()

    def _decode(self) -> None:
        import av  # loads FFmpeg, which only compressed audio needs

        with av.open(
            self, mode="r", format=self._demuxer, options=EAGER, buffer_size=4096
        ) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            for packet in _packets(container):
                with contextlib.suppress(av.FFmpegError):  # damaged; the next one may be whole
                    for frame in packet.decode():
                        self._keep(resampler, frame)
                if not self._samples and self._received > LONGEST_HEADER:
                    raise DecodeError
            self._keep(resampler, None)
        if not self._samples:
            raise DecodeError

    def _keep(self, resampler: Any, frame: Any) -> None:
        if frame is not None and not (
            LOWEST_RATE <= frame.sample_rate <= HIGHEST_RATE and frame.samples <= LONGEST_FRAME
        ):
            raise DecodeError
        for resampled in resampler.resample(frame):
            samples = resampled.to_ndarray()[0]
            self._pieces.append(samples)
            self._samples += len(samples)
        if self._samples > SAMPLE_RATE * (GRACE_S + self._received / LEAST_BYTES_PER_S):
            raise DecodeError


def _packets(container: Any) -> Iterator[Any]:
    """Packets of the first audio stream, going on behind damaged places."""
    import av

    if not container.streams.audio:
        raise DecodeError
    for _ in range(MOST_FAULTS):
        try:
            yield from container.demux(container.streams.audio[0])
            return
        except av.FFmpegError:
            continue
    raise DecodeError
