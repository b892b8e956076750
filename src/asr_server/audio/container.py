"""Decode compressed audio while it arrives, with FFmpeg's demuxers and decoders.

FFmpeg is C code that parses hostile bytes: it runs in a process of its own for every stream
(`decoder_process`). A demuxer pulls bytes; its read blocks until the server sends more.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import av

from asr_server.audio.units import SAMPLE_RATE, Pcm, bounded
from asr_server.errors import DecodeError

CODECS = frozenset(
    """aac aac_latm ac3 adpcm_g722 adpcm_g726 adpcm_g726le adpcm_ima_qt adpcm_ima_wav adpcm_ms
    adpcm_yamaha alac amr_nb amr_wb eac3 flac gsm gsm_ms mp1 mp2 mp3 opus pcm_alaw pcm_f32be
    pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32be
    pcm_s32le pcm_s8 pcm_u8 speex vorbis""".split()
)
"""What DashScope documents, and what browsers, phones, telephony and video files bring, by
FFmpeg's names. Its other 170 audio decoders are for games and old disks, and seldom tested."""
CODEC_NAMES = (
    "AAC, AC-3, ADPCM, A-law, ALAC, AMR, E-AC-3, FLAC, G.722, G.726, GSM, MP2, MP3, µ-law, Opus,"
    " PCM, Speex, Vorbis"
)
MIN_RATE, MAX_RATE, MAX_CHANNELS = 1000, 384_000, 8
MAX_FRAME = 1 << 20
"""Samples of one channel in one frame."""
MAX_HEADER_BYTES = 8 << 20
"""More bytes without a decoded sample are refused."""
MAX_FAULTS = 1000
"""Damaged places in one stream; more is not audio."""
GRACE_S, MIN_BYTES_PER_S = 60, 16
"""Reject decompression bombs: under 16 bytes a second after 60 s, less than any codec needs."""
GRACE_CPU_S, MAX_CPU_PER_S = 3.0, 0.1
"""CPU time that a stream may take at once, and for each second of its audio: MP3 takes 0.002."""
UNBACKED_ENTRIES = 200_000
"""Samples that an index may list beyond the bytes received; one takes 24 bytes of memory."""
PIECE: int = SAMPLE_RATE
"""Samples that are passed on before the rest of the input is decoded."""


class Container:
    """Decode one stream from `receive`, which returns no bytes at its end, to `emit`."""

    def __init__(
        self, demuxer: str, receive: Callable[[], bytes], emit: Callable[[Pcm], None]
    ) -> None:
        self._demuxer = demuxer
        self._receive = receive
        self._emit = emit
        self._input = b""
        self._received = 0
        self._resampler: Any = None
        self._source: tuple[str, str, int] | None = None
        """Sample format, channel layout and rate that the resampler takes."""
        self._samples = 0
        self._cpu_began_s = time.process_time()
        self._refused: DecodeError | None = None

    def decode(self) -> None:
        """Decode to the end. Raises DecodeError."""
        try:
            self._decode()
        except DecodeError:
            raise
        except MemoryError:
            raise DecodeError("it takes more memory than a stream may have") from None
        except Exception as broken:  # FFmpeg's errors have many classes, none with more detail
            raise self._refused or DecodeError() from broken
        if self._refused or not self._samples:
            raise self._refused or DecodeError()

    def read(self, size: int) -> bytes:
        """Return at least one byte to the demuxer, or none at the end."""
        if not self._input and self._refused is None:
            try:
                self._check()
            except DecodeError as refused:  # FFmpeg would lose an exception
                self._refused = refused
                return b""
            self._input = self._receive()
            self._received += len(self._input)
        data, self._input = self._input[:size], self._input[size:]
        return data

    def _decode(self) -> None:
        options = {
            "probesize": "32",  # begin with the first frame instead of probing seconds of audio
            "analyzeduration": "0",
            "codec_whitelist": _decoders(),
        }
        with av.open(
            self, mode="r", format=self._demuxer, options=options, buffer_size=4096
        ) as container:
            for packet in self._packets(container):
                self._check_index(container)
                with contextlib.suppress(av.FFmpegError):  # damaged; the next one may be whole
                    for frame in packet.decode():
                        self._resample(frame)
                self._check()
        self._flush()

    def _packets(self, container: Any) -> Iterator[Any]:
        """Yield the packets of the first audio stream, continuing after damaged places."""
        self._check_index(container)
        if not container.streams.audio:
            raise DecodeError
        stream = container.streams.audio[0]
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
        if codec not in CODECS:
            raise DecodeError(f"the codec '{codec}' is not accepted; accepted are {CODEC_NAMES}")
        stream.codec_context.thread_count = 1
        for _ in range(MAX_FAULTS):
            try:
                yield from container.demux(stream)
                return
            except av.FFmpegError:
                continue
        raise DecodeError("it is damaged in too many places")

    def _resample(self, frame: Any) -> None:
        rate, layout = frame.sample_rate, frame.layout
        if not MIN_RATE <= rate <= MAX_RATE or layout.nb_channels > MAX_CHANNELS:
            raise DecodeError(
                f"it has {layout.nb_channels} channels at {rate} Hz; accepted are up to"
                f" {MAX_CHANNELS} channels at {MIN_RATE} to {MAX_RATE} Hz"
            )
        if frame.samples > MAX_FRAME:
            raise DecodeError
        source = (frame.format.name, layout.name, rate)
        if source != self._source:  # some recorders change it in mid-stream
            self._flush()
            self._source = source
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        self._keep(self._resampler.resample(frame))

    def _flush(self) -> None:
        if self._resampler is not None:
            self._keep(self._resampler.resample(None))

    def _keep(self, frames: list[Any]) -> None:
        for frame in frames:
            samples = bounded(frame.to_ndarray()[0])
            self._samples += len(samples)
            for begin in range(0, len(samples), PIECE):
                self._emit(samples[begin : begin + PIECE])

    def _check_index(self, container: Any) -> None:
        """Raise DecodeError if the container's index claims samples that nothing backs."""
        entries = sum(len(stream.index_entries) for stream in container.streams)
        if entries > self._received + UNBACKED_ENTRIES:
            raise DecodeError("its index claims more samples than it has bytes")

    def _check(self) -> None:
        """Raise DecodeError if the stream is over a limit."""
        if not self._samples and self._received > MAX_HEADER_BYTES:
            raise DecodeError(f"there is no audio in its first {MAX_HEADER_BYTES >> 20} MB")
        if self._samples > SAMPLE_RATE * (GRACE_S + self._received / MIN_BYTES_PER_S):
            raise DecodeError(f"it has less than {MIN_BYTES_PER_S} bytes a second")
        cpu_s = time.process_time() - self._cpu_began_s
        if cpu_s > GRACE_CPU_S + MAX_CPU_PER_S * self._samples / SAMPLE_RATE:
            raise DecodeError(
                f"it takes more than {MAX_CPU_PER_S:g} s of CPU time for a second of audio"
            )


@cache
def _decoders() -> str:
    """Return FFmpeg's names of the decoders of `CODECS`."""
    names = []
    for name in av.codecs_available:
        with contextlib.suppress(ValueError):  # an encoder only
            if av.Codec(name, "r").canonical_name in CODECS:
                names.append(name)
    return ",".join(names)
