"""Recordings as blocks of bytes that a server takes.

A format that the server can decode while it arrives is sent as it is, so that the server's decoder
is part of what is measured. All other formats that FFmpeg reads, video among them, are decoded
here: an MP4 whose index stands at its end cannot be read from a stream. They are the user's own
files, so FFmpeg runs in the user's own process.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import cast

import numpy as np

from asr_server.audio.formats import HEAD_BYTES, identify
from asr_server.audio.units import SAMPLE_RATE, Pcm
from asr_server.errors import DecodeError

BLOCK_BYTES = 32 * 1024
NO_SOUND = "there is no sound in it"
STDIN = Path("-")
RAW = frozenset({".pcm", ".raw"})
AUDIO_SUFFIXES = RAW.union(
    """.wav .flac .mp3 .m4a .mp4 .ogg .opus .aac .amr .webm .mkv .mov .wma .3gp .aif .aiff .au .caf
    .flv .avi .ts .m4b .mka .oga .spx .w64""".split()
)
"""Names of files that a folder of recordings holds; a file that is named itself may have any."""
STREAMED = {"wav": "wav", "mp3": "mp3", "ogg": "opus", "flac": "flac", "aac": "aac", "amr": "amr"}
"""FFmpeg's name of a container, and the format a task declares for it."""


class RecordingError(Exception):
    """A recording cannot be read; the text is the reason alone."""


@dataclass(frozen=True, slots=True)
class OpenRecording:
    """A recording to recognise."""

    blocks: Callable[[], Iterator[bytes]]
    """Iterates over all bytes from the beginning; raises RecordingError. Blocks its thread."""
    format: str
    """As a task declares it."""
    sample_rate: int
    """Hz, for samples without a header."""
    duration_s: float | None = None
    """None where it is known only after reading to the end."""
    size: int | None = None
    """Bytes in all blocks together, if known."""


def open_recording(
    path: Path, format: str = "wav", sample_rate: int = SAMPLE_RATE
) -> OpenRecording:
    """Open a file, or stdin for `-`; format and Hz describe audio without a header.

    Raises RecordingError.
    """
    if path == STDIN:
        return OpenRecording(_read_stdin, format, sample_rate)
    try:
        return _open_file(path, sample_rate)
    except OSError as exc:
        raise RecordingError(f"it cannot be opened ({exc.strerror})") from exc


def _open_file(path: Path, sample_rate: int) -> OpenRecording:
    if path.is_dir():
        raise RecordingError("it is a folder; name the files in it")
    if not path.is_file():
        raise RecordingError("there is no such file")
    size = path.stat().st_size
    as_it_is = partial(_read_file, path)
    if path.suffix.lower() in RAW:
        return OpenRecording(as_it_is, "pcm", sample_rate, size / 2 / sample_rate, size)
    with path.open("rb") as file:
        try:
            identify(file.read(HEAD_BYTES), "wav", last=True)
        except DecodeError as exc:
            raise RecordingError(exc.detail) from exc
    container, duration_s = _probe(path)
    if container in STREAMED:
        return OpenRecording(as_it_is, STREAMED[container], sample_rate, duration_s, size)
    decoded = round((duration_s or 0) * SAMPLE_RATE * 2) or None
    return OpenRecording(partial(decode_file, path), "pcm", SAMPLE_RATE, duration_s, decoded)


def audio_files(folder: Path) -> list[Path]:
    """Return the recordings in a folder and below it, by their names."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)


def _read_stdin() -> Iterator[bytes]:
    """Return the bytes as soon as they come."""
    return iter(partial(cast(BufferedReader, sys.stdin.buffer).read1, BLOCK_BYTES), b"")


def _read_file(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while data := file.read(BLOCK_BYTES):
                yield data
    except OSError as exc:
        raise RecordingError(exc.strerror or "it cannot be read") from exc


def decode_file(path: Path) -> Iterator[bytes]:
    """Yield the first audio track as 16 kHz mono PCM, on its clock. Raises RecordingError."""
    import av

    from asr_server.audio.packets import Packets
    from asr_server.audio.track import Track

    samples: list[Pcm] = []
    track = Track(samples.append)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise RecordingError(NO_SOUND)
            packets = Packets(
                container.format.name.split(",")[0], container.streams.audio[0], track
            )
            for packet in container.demux():
                packets.decode(packet)
                if sum(map(len, samples)) >= BLOCK_BYTES // 2:
                    yield _pcm(samples)
            track.flush()
    except (av.FFmpegError, OSError) as exc:
        raise RecordingError(_reason(exc)) from exc
    except DecodeError as exc:
        raise RecordingError(exc.detail) from exc
    if not track.samples:
        raise RecordingError(NO_SOUND)
    yield _pcm(samples)


def _pcm(samples: list[Pcm]) -> bytes:
    """Return samples as 16-bit ones, and clear the list."""
    pcm = (np.concatenate([np.zeros(0, np.float32), *samples]) * 32767).astype("<i2").tobytes()
    samples.clear()
    return pcm


def _probe(path: Path) -> tuple[str, float | None]:
    """Return FFmpeg's name of the container and the duration. Raises RecordingError."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise RecordingError(NO_SOUND)
            duration = container.duration
            return container.format.name, duration / 1_000_000 if duration else None
    except (av.FFmpegError, OSError) as exc:
        raise RecordingError(_reason(exc)) from exc


def _reason(exc: Exception) -> str:
    """Return the operating system's or FFmpeg's reason without the path that follows it."""
    return f"it cannot be read as sound: {getattr(exc, 'strerror', None) or type(exc).__name__}"
