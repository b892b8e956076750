"""A file's bytes as the server takes them, a second or so at a time.

What the server can decode while it arrives goes to it as it is, so that its decoder is part of what
is measured. Everything else that FFmpeg reads, video among it, is decoded here: an MP4 whose index
stands at its end cannot be read from a stream.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from asr_server.audio.units import SAMPLE_RATE

PIECE_BYTES = 32 * 1024
STDIN = Path("-")
RAW = frozenset({".pcm", ".raw"})
STREAMED = {"wav": "wav", "mp3": "mp3", "ogg": "opus", "flac": "flac", "aac": "aac", "amr": "amr"}
"""What FFmpeg calls a container, and the format a task declares for it."""


class RecordingError(Exception):
    """A recording cannot be read; says why and no more."""


class Piece(NamedTuple):
    """The next bytes of a recording."""

    data: bytes
    position: float
    """Share of the recording up to their end, 0 to 1; 0 where nobody knows."""


class Recording(Protocol):
    """Something to recognise."""

    @property
    def format(self) -> str:
        """As a task declares it."""
        ...

    @property
    def sample_rate(self) -> int:
        """Hz, for samples without a header."""
        ...

    @property
    def duration_s(self) -> float | None:
        """None where only reading to the end would tell."""
        ...

    def pieces(self) -> Iterator[Piece]:
        """Everything from the beginning; raises RecordingError. Blocks, so for a thread."""
        ...


def open_recording(path: Path, format: str = "wav", sample_rate: int = SAMPLE_RATE) -> Recording:
    """A file, or stdin for `-`; format and Hz are for what does not tell its own.

    Raises RecordingError.
    """
    if path == STDIN:
        return Stdin(format, sample_rate)
    if not path.is_file():
        raise RecordingError("there is no such file")
    if path.suffix.lower() in RAW:
        return FileAsItIs(path, "pcm", sample_rate, path.stat().st_size / 2 / sample_rate)
    container, duration_s = _probe(path)
    if container in STREAMED:
        return FileAsItIs(path, STREAMED[container], sample_rate, duration_s)
    return FileDecodedHere(path, duration_s)


@dataclass(frozen=True, slots=True)
class Stdin:
    """Whatever is piped in."""

    format: str
    sample_rate: int
    duration_s: float | None = None

    def pieces(self) -> Iterator[Piece]:
        """What comes, as soon as it comes."""
        stdin = cast(BufferedReader, sys.stdin.buffer)
        while data := stdin.read1(PIECE_BYTES):
            yield Piece(data, 0.0)


@dataclass(frozen=True, slots=True)
class FileAsItIs:
    """The server decodes it."""

    path: Path
    format: str
    sample_rate: int
    duration_s: float | None

    def pieces(self) -> Iterator[Piece]:
        """The file's bytes. Raises RecordingError."""
        try:
            with self.path.open("rb") as file:
                size = self.path.stat().st_size or 1
                while data := file.read(PIECE_BYTES):
                    yield Piece(data, min(1.0, file.tell() / size))
        except OSError as exc:
            raise RecordingError(exc.strerror or "it cannot be read") from exc


@dataclass(frozen=True, slots=True)
class FileDecodedHere:
    """Its first audio track as 16 kHz mono PCM."""

    path: Path
    duration_s: float | None
    format: str = "pcm"
    sample_rate: int = SAMPLE_RATE

    def pieces(self) -> Iterator[Piece]:
        """The samples. Raises RecordingError."""
        import av

        total = (self.duration_s or 0) * SAMPLE_RATE * 2
        done, waiting = 0, bytearray()
        try:
            with av.open(str(self.path)) as container:
                for frame in _resampled(container):
                    waiting += bytes(frame.planes[0])[: frame.samples * 2]
                    if len(waiting) >= PIECE_BYTES:
                        done += len(waiting)
                        yield Piece(bytes(waiting), min(1.0, done / total) if total else 0.0)
                        waiting.clear()
        except (av.FFmpegError, OSError) as exc:
            raise RecordingError(_reason(exc)) from exc
        yield Piece(bytes(waiting), 1.0)


def _resampled(container: Any) -> Iterator[Any]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    for frame in container.decode(audio=0):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _probe(path: Path) -> tuple[str, float | None]:
    """FFmpeg's name of the container and the length of what is in it. Raises RecordingError."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise RecordingError("there is no sound in it")
            duration = container.duration
            return container.format.name, duration / 1_000_000 if duration else None
    except (av.FFmpegError, OSError) as exc:
        raise RecordingError(_reason(exc)) from exc


def _reason(exc: Exception) -> str:
    """What the operating system or FFmpeg says, without the path it puts behind it."""
    return f"it cannot be read as sound: {getattr(exc, 'strerror', None) or type(exc).__name__}"
