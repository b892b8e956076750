"""Audio sources: files, bytes, iterables and the microphone as blocks of bytes."""

from __future__ import annotations

import array
import asyncio
import contextlib
import io
import math
import os
import sys
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from asr_client.microphone import Microphone
from asr_client.protocol import FRAME_MS
from asr_client.types import Level, Parameters

MAGIC = (
    (b"RIFF", "wav"),
    (b"OggS", "opus"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
    (b"#!AMR", "amr"),
    (b"\x1a\x45\xdf\xa3", "webm"),
    (b"\xff\xf1", "aac"),
    (b"\xff\xf9", "aac"),
    (b"\xff\xfb", "mp3"),
    (b"\xff\xf3", "mp3"),
    (b"\xff\xf2", "mp3"),
)
SUFFIXES = {"pcm": "pcm", "raw": "pcm", "oga": "opus", "ogg": "opus", "spx": "speex", "mp4": "m4a"}
BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class AudioSource:
    """Blocks of audio and their format."""

    blocks: Iterable[bytes] | AsyncIterable[bytes]
    format: str
    sample_rate: int
    live: bool = False

    @property
    def bytes_per_ms(self) -> float | None:
        """Return None for compressed audio, whose bytes have no fixed length in time."""
        return self.sample_rate * 2 / 1000 if self.format == "pcm" else None


def open_source(source: Any, parameters: Parameters) -> AudioSource:
    """Return a file, bytes, an iterable or a microphone as blocks of bytes."""
    if isinstance(source, Microphone):
        return AudioSource(source, "pcm", source.sample_rate, live=True)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return _from_file(lambda: path.open("rb"), path.suffix.lower().lstrip("."), parameters)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        return _from_file(lambda: io.BytesIO(data), "", parameters)
    if isinstance(source, (AsyncIterable, Iterable)):
        return AudioSource(source, parameters.format, parameters.sample_rate)
    raise TypeError(f"cannot read audio from {type(source).__name__}")


def _from_file(
    open_file: Callable[[], BinaryIO], suffix: str, parameters: Parameters
) -> AudioSource:
    """Decode 16-bit WAV, so that it can be paced and resumed; pass on any other file as it is."""
    with open_file() as file:
        kind = _kind(file.read(16), suffix, parameters.format)
        file.seek(0)
        wav = _read_wav_header(file) if kind == "wav" else None
    if wav:
        return AudioSource(_read_wav(open_file, wav), "pcm", wav.sample_rate)
    return AudioSource(_read_blocks(open_file, BLOCK_BYTES), kind, parameters.sample_rate)


def _kind(head: bytes, suffix: str, fallback: str) -> str:
    """Return the format by the file's first bytes, else by its name."""
    if suffix in ("pcm", "raw") and not head.startswith(b"RIFF"):
        return "pcm"
    if head[4:8] == b"ftyp":
        return "m4a"
    for magic, name in MAGIC:
        if head.startswith(magic):
            return "speex" if name == "opus" and suffix == "spx" else name
    return SUFFIXES.get(suffix, suffix) or fallback


@dataclass(frozen=True, slots=True)
class _Wav:
    channels: int
    sample_rate: int
    data_at: int  # where the samples begin
    data_bytes: int | None  # None where the header does not state it, as in a live recording


def _read_wav_header(file: BinaryIO) -> _Wav | None:
    """Return None where only the server can decode the file: not 16-bit PCM."""
    if file.read(12)[8:12] != b"WAVE":
        return None
    channels = rate = bits = code = 0
    while len(chunk := file.read(8)) == 8:
        name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            known = 0 < size < 0xFFFFFFFF
            usable = code in (1, 0xFFFE) and bits == 16 and channels and rate
            return _Wav(channels, rate, file.tell(), size if known else None) if usable else None
        body = file.read(size + size % 2)
        if name == b"fmt " and len(body) >= 16:
            code, channels = (int.from_bytes(body[i : i + 2], "little") for i in (0, 2))
            rate = int.from_bytes(body[4:8], "little")
            bits = int.from_bytes(body[14:16], "little")
    return None


def _read_wav(open_file: Callable[[], BinaryIO], wav: _Wav) -> Iterator[bytes]:
    frame = 2 * wav.channels
    blocks = _read_blocks(open_file, frame * wav.sample_rate, wav.data_at, wav.data_bytes)
    for block in blocks:
        whole = block[: len(block) // frame * frame]
        yield whole if wav.channels == 1 else _to_mono(whole, wav)


def _read_blocks(
    open_file: Callable[[], BinaryIO], size: int, start: int = 0, limit: int | None = None
) -> Iterator[bytes]:
    left = sys.maxsize if limit is None else limit
    with open_file() as file:
        file.seek(start)
        while block := file.read(min(size, left)):
            left -= len(block)
            yield block


def _to_mono(block: bytes, wav: _Wav) -> bytes:
    samples = _samples(block)
    tracks = [samples[channel :: wav.channels] for channel in range(wav.channels)]
    mixed = (sum(parts) // wav.channels for parts in zip(*tracks, strict=True))
    return _little_endian(array.array("h", mixed)).tobytes()


def _samples(pcm: bytes) -> array.array[int]:
    return _little_endian(array.array("h", pcm[: len(pcm) // 2 * 2]))


def _little_endian(samples: array.array[int]) -> array.array[int]:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def level_of(pcm: bytes) -> Level:
    """Return the loudness of 16-bit samples."""
    samples = _samples(pcm)
    if not samples:
        return Level(-100.0, -100.0)
    power = sum(sample * sample for sample in samples) / len(samples)
    return Level(_db(math.sqrt(power)), _db(max(max(samples), -min(samples))))


def _db(amplitude: float) -> float:
    return max(-100.0, 20 * math.log10(amplitude / 32768)) if amplitude > 0 else -100.0


async def paced_blocks(source: AudioSource, pace: float | None) -> AsyncGenerator[bytes, None]:
    """Yield the source's blocks, held back to `pace` times real time by an absolute schedule."""
    async with contextlib.aclosing(_blocks(source.blocks)) as blocks:
        if not pace or source.live:
            async for block in blocks:
                yield block
            return
        if source.bytes_per_ms is None:
            raise ValueError(f"pacing needs PCM or 16-bit WAV, not {source.format}")
        frame = int(source.bytes_per_ms * FRAME_MS) // 2 * 2
        loop = asyncio.get_running_loop()
        start, sent_ms = loop.time(), 0.0
        async for block in blocks:
            for at in range(0, len(block), frame):
                piece = block[at : at + frame]
                sent_ms += len(piece) / source.bytes_per_ms
                # A live source hands over a frame when it is over, not when it begins.
                await asyncio.sleep(start + sent_ms / 1000 / pace - loop.time())
                yield piece


async def _blocks(source: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the blocks; a blocking source is read on a thread, so that results keep flowing."""
    if isinstance(source, AsyncIterable):
        items = source.__aiter__()
        try:
            async for block in items:
                yield block
        finally:
            if close := getattr(items, "aclose", None):
                await close()
        return
    blocks = iter(source)
    ended = threading.Event()
    try:
        while (block_or_end := await asyncio.to_thread(_next, blocks, ended)) is not None:
            yield block_or_end
    finally:
        ended.set()
        _close(blocks)


def _next(blocks: Iterator[bytes], ended: threading.Event) -> bytes | None:
    try:
        return next(blocks, None)
    finally:
        if ended.is_set():
            _close(blocks)


def _close(blocks: Iterator[bytes]) -> None:
    """Close a generator; while a thread waits in it, that thread does so afterwards."""
    if isinstance(blocks, Generator):
        with contextlib.suppress(ValueError):
            blocks.close()
