"""Audio that attacks a decoder, and clients that send it without end."""

import asyncio
import contextlib
import io
import itertools
import struct
from collections.abc import AsyncIterator, Iterable, Iterator

import av
import numpy as np
import websockets

from asr_client import protocol
from tests.support.encoding import RATE
from tests.support.serving import within

Box = bytes


# Floats that are no audio ------------------------------------------------------------------------


def floats(value: float, container: str = "matroska", codec: str = "pcm_f32le") -> bytes:
    """Return a second of noise with NaN, an infinity or a huge float in every tenth place."""
    wide = codec.startswith("pcm_f64")
    samples = np.random.default_rng(1).uniform(-0.1, 0.1, RATE).astype("f8" if wide else "f4")
    samples[::10] = value
    file = io.BytesIO()
    options = {"movflags": "frag_keyframe+empty_moov"} if container == "mov" else {}
    with av.open(file, "w", format=container, options=options) as muxer:
        stream = muxer.add_stream(codec, rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            samples[None], format="dbl" if wide else "flt", layout="mono"
        )
        frame.sample_rate = RATE
        muxer.mux(stream.encode(frame))
        muxer.mux(stream.encode(None))
    return file.getvalue()


# Indexes that claim samples ----------------------------------------------------------------------


def box(name: bytes, *content: bytes) -> Box:
    """Return a box of an MP4 file."""
    payload = b"".join(content)
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def full_box(name: bytes, flags: int, *numbers: int) -> Box:
    """Return a box that begins with its flags."""
    return box(name, struct.pack(f">{1 + len(numbers)}I", flags, *numbers))


def _track(number: int, table: Box) -> Box:
    entry = struct.pack(">6xH8xHHIHHI", 1, 1, 16, 0, 0, 0, RATE << 16)[:28]
    description = box(b"stsd", struct.pack(">II", 0, 1), box(b"mp4a", entry))
    tables = [
        full_box(b"stts", 0, 1, 60_000_000, 1024),
        full_box(b"stsc", 0, 1, 1, 60_000_000, 1),
        table,
        full_box(b"stco", 0, 1, 600),
    ]
    media = box(
        b"mdia",
        full_box(b"mdhd", 0, 0, 0, RATE, 0, 0x55C40000),
        box(b"hdlr", struct.pack(">II4s12xB", 0, 0, b"soun", 0)),
        box(b"minf", box(b"stbl", description, *tables)),
    )
    header = struct.pack(">IIIII60x", 7, 0, 0, number, 0)
    return box(b"trak", box(b"tkhd", header), media)


def claimed_index(samples: int = 60_000_000, tracks: int = 1) -> bytes:
    """Return an m4a of some hundred bytes whose `stsz` claims samples of one byte each."""
    table = full_box(b"stsz", 0, 1, samples)
    movie = [_track(number, table) for number in range(1, tracks + 1)]
    header = box(b"mvhd", struct.pack(">IIIII80x", 0, 0, 0, RATE, 0))
    return box(b"ftyp", b"M4A \0\0\0\0M4A ") + box(b"moov", header, *movie) + box(b"mdat", b"\0")


def claimed_fragment(samples: int = 60_000_000) -> bytes:
    """Return an m4a of some hundred bytes in which the `trun` of a fragment claims samples."""
    header = box(b"mvhd", struct.pack(">IIIII80x", 0, 0, 0, RATE, 0))
    defaults = box(b"mvex", full_box(b"trex", 0, 1, 1, 1024, 1, 0))
    movie = box(b"moov", header, _track(1, full_box(b"stsz", 0, 0, 0)), defaults)
    fragment = box(
        b"moof",
        full_box(b"mfhd", 0, 1),
        box(b"traf", full_box(b"tfhd", 0x20000, 1), full_box(b"trun", 0, samples)),
    )
    return box(b"ftyp", b"iso5\0\0\0\0iso5") + movie + fragment + box(b"mdat", b"\0" * 64)


# Headers without end -----------------------------------------------------------------------------


def empty_chunks(count: int = 129_000) -> bytes:
    """Return a WAVE header of chunks without content, which never reaches its samples."""
    return b"RIFF\xff\xff\xff\xffWAVE" + b"JUNK\0\0\0\0" * count


def endless_header(demuxer: str, size: int = 64 << 20) -> Iterator[bytes]:
    """Yield a header that ends only after so many bytes, in pieces of 64 kB."""
    block = b"x" * 65_536
    if demuxer == "mp3":
        yield b"ID3\x04\0\0\x7f\x7f\x7f\x7fTXXX" + struct.pack(">IH", 0x7F7F7F00, 0)
    elif demuxer == "flac":
        yield b"fLaC\0\0\0\x22" + struct.pack(">HH6x", 4096, 4096)
        yield bytes.fromhex("03e800f000000000") + b"\0" * 16
        picture = b"\x06" + (0xFFFFFF).to_bytes(3, "big") + b"y" * 0xFFFFFF
        for _ in range(size // len(picture)):
            yield from (picture[i : i + 65_536] for i in range(0, len(picture), 65_536))
        return
    elif demuxer == "matroska":
        yield bytes.fromhex("1a45dfa3 8b 4282 88") + b"matroska"
        yield bytes.fromhex("18538067 01ffffffffffffff 1254c367 0100000010000000 7373")
        yield bytes.fromhex("0100000010000000 67c8 0100000010000000 4487 0100000010000000")
    elif demuxer == "ogg":
        yield from _ogg_comment(size)
        return
    for _ in range(size // len(block)):
        yield block


def _ogg_comment(size: int) -> Iterator[bytes]:
    """Yield an Opus stream whose second packet, the comment, goes on over all pages."""
    head = b"OpusHead\x01\x01" + struct.pack("<HIhB", 0, RATE, 0, 0)
    yield _ogg_page(head, 0, 2, [len(head)])
    page = _ogg_page(b"OpusTags" + b"x" * (255 * 255 - 8), 1, 0, [255] * 255)
    yield from itertools.repeat(page, size // len(page))


def _ogg_page(content: bytes, number: int, flags: int, lengths: list[int]) -> bytes:
    header = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, 1, number, 0, len(lengths))
    page = bytearray(header + bytes(lengths) + content)
    struct.pack_into("<I", page, 22, _ogg_checksum(page))
    return bytes(page)


def _ogg_checksum(page: bytes | bytearray) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc


# Codecs ------------------------------------------------------------------------------------------


def encoded(
    codec: str, container: str, pcm: np.ndarray, rate: int = RATE, channels: int = 1
) -> bytes:
    """Return int16 samples as a file of any codec that PyAV can write."""
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[channels]
    with av.open(file, "w", format=container) as muxer:
        stream = muxer.add_stream(codec, rate=rate, layout=layout)
        context = stream.codec_context
        context.open()
        resampler = av.AudioResampler(context.format, layout, rate, context.frame_size or 4096)
        frame = av.AudioFrame.from_ndarray(
            np.repeat(pcm, channels)[None], format="s16", layout=layout
        )
        frame.sample_rate = rate
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            muxer.mux(stream.encode(part))
        muxer.mux(stream.encode(None))
    return file.getvalue()


def slow_flac(seconds: int = 4) -> bytes:
    """Return silence in eight channels of 384 kHz: few bytes, much work."""
    return encoded("flac", "flac", np.zeros(384_000 * seconds, np.int16), 384_000, channels=8)


# Attacks -----------------------------------------------------------------------------------------


async def non_finite(url: str) -> None:
    """Send floats that are no audio, task after task."""
    files = [
        floats(value, container, codec)
        for value in (np.nan, np.inf, -np.inf, 3e38)
        for container, codec in (("matroska", "pcm_f32le"), ("mov", "pcm_f64le"))
    ]
    await _attack(url, ((file,) for file in files), "pcm")


async def claimed_memory(url: str) -> None:
    """Send indexes that claim millions of samples, and leave the tasks open."""
    files = [claimed_index(), claimed_index(2_000_000, tracks=8), claimed_fragment()]
    await _attack(url, ((file,) for file in files), "m4a", hold_s=5)


async def wave_headers(url: str) -> None:
    """Send a WAVE header of empty chunks, then its samples byte by byte."""
    pieces = [empty_chunks(), *[b"\0"] * 1000]
    await _attack(url, [pieces], "wav")


async def long_headers(url: str) -> None:
    """Send headers without end, in several containers at once."""
    kinds = {"mp3": "mp3", "flac": "flac", "matroska": "webm", "ogg": "opus"}
    await asyncio.gather(
        *(_attack(url, _Headers(demuxer), format) for demuxer, format in kinds.items())
    )


async def slow_codecs(url: str) -> None:
    """Keep six decoders busy, each with audio that takes long to decode."""
    file = slow_flac()
    await asyncio.gather(*(_attack(url, [itertools.repeat(file, 50)], "flac") for _ in range(6)))


ATTACKS = (non_finite, claimed_memory, wave_headers, long_headers, slow_codecs)


class _Headers:
    """Iterate over a header anew for every task."""

    def __init__(self, demuxer: str) -> None:
        self._demuxer = demuxer

    def __iter__(self) -> Iterator[Iterable[bytes]]:
        yield endless_header(self._demuxer)


async def _attack(
    url: str, tasks: Iterable[Iterable[bytes]], format: str, hold_s: float = 0
) -> None:
    tasks = [list(task) for task in tasks] if not isinstance(tasks, _Headers) else tasks
    for number in itertools.count():
        for pieces in tasks:
            with contextlib.suppress(OSError, websockets.WebSocketException):
                async with _task(url, f"attack-{number}", format) as socket:
                    for piece in pieces:
                        await socket.send(piece)
                    await asyncio.sleep(hold_s)
                    await socket.send(protocol.finish_task(f"attack-{number}"))
                    async with within(10):  # `wait_for` may swallow a cancellation
                        await socket.recv()
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _task(url: str, task_id: str, format: str) -> AsyncIterator[websockets.ClientConnection]:
    options = {"compression": None, "proxy": None, "close_timeout": 0.5}
    async with websockets.connect(url + protocol.PATH, **options) as socket:
        parameters = {"format": format, "sample_rate": RATE}
        await socket.send(protocol.run_task(task_id, protocol.DEFAULT_MODEL, parameters))
        await socket.recv()
        yield socket
