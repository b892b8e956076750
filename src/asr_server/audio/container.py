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

from asr_server.audio.flac import FlacFrames
from asr_server.audio.packets import Packets
from asr_server.audio.segments import Segments
from asr_server.audio.track import Track
from asr_server.audio.units import SAMPLE_RATE, Pcm
from asr_server.errors import DecodeError

CODECS = frozenset(
    """aac aac_latm ac3 adpcm_g722 adpcm_g726 adpcm_g726le adpcm_ima_qt adpcm_ima_wav adpcm_ms
    adpcm_yamaha alac amr_nb amr_wb dts eac3 flac g723_1 g729 gsm gsm_ms mp1 mp2 mp3 opus pcm_alaw
    pcm_bluray pcm_dvd pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16le
    pcm_s24be pcm_s24le pcm_s32be pcm_s32le pcm_s8 pcm_u8 speex vorbis wmapro wmav1 wmav2
    wmavoice""".split()
)
"""What DashScope documents, and what browsers, phones, telephony, dictaphones and video files
bring, by FFmpeg's names. Its other 160 audio decoders are for games and old disks, and seldom
tested."""
CODEC_NAMES = (
    "AAC, AC-3, ADPCM, A-law, ALAC, AMR, DTS, E-AC-3, FLAC, G.722, G.723.1, G.726, G.729, GSM, MP2,"
    " MP3, µ-law, Opus, PCM, Speex, Vorbis, WMA"
)
MAX_HEADER_BYTES = 8 << 20
"""More bytes without a decoded sample are refused."""
MAX_FAULTS = 1000
"""Damaged places in one stream; more is not audio."""
GRACE_S, MIN_BYTES_PER_S = 60, 16
"""Reject decompression bombs: under 16 bytes a second after 60 s, less than any codec needs."""
GRACE_SILENCE_S, SILENT_BYTES_PER_S = 600, 64
"""Gaps in time stamps become at most 600 s of silence, and a second more for each 64 bytes."""
GRACE_CPU_S, MAX_CPU_PER_S = 3.0, 0.1
"""CPU time that a stream may take at once, and for each second of its audio: MP3 takes 0.002."""
UNBACKED_ENTRIES = 200_000
"""Samples that an index may list beyond the bytes received; one takes 24 bytes of memory."""


class Container:
    """Decode one stream from `receive`, which returns no bytes at its end, to `emit`."""

    def __init__(
        self, demuxer: str, receive: Callable[[], bytes], emit: Callable[[Pcm], None]
    ) -> None:
        self._demuxer = demuxer
        self._receive = receive
        self._received = 0
        self._track = Track(emit)
        self._segments = Segments(demuxer, self._pull)
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
            raise self._refused or self._undecodable() from broken
        if self._refused or not self._track.samples:
            raise self._refused or self._undecodable()

    def read(self, size: int) -> bytes:
        """Return at least one byte to the demuxer, or none at the end of a segment."""
        return self._segments.read(size)

    def _pull(self) -> bytes:
        """Return the next bytes of the stream, or none at its end or if it was refused."""
        if self._refused is None:
            try:
                self._check()
            except DecodeError as refused:  # FFmpeg would lose an exception
                self._refused = refused
        if self._refused is not None:
            return b""
        data = self._receive()
        self._received += len(data)
        return data

    def _decode(self) -> None:
        if self._demuxer == "flac":
            self._decode_flac()
        else:
            self._decode_segment()
            while self._segments.next():
                self._track.restart()
                self._decode_segment()
        self._track.flush()

    def _decode_segment(self) -> None:
        source = self._segments.kept() or self
        options = {
            "probesize": "32",  # begin with the first frame instead of probing seconds of audio
            "analyzeduration": "0",
            "codec_whitelist": _decoders(),
        }
        with av.open(
            source, mode="r", format=self._demuxer, options=options, buffer_size=4096
        ) as container:
            stream = self._audio(container)
            packets = Packets(self._demuxer, stream, self._track)
            for packet in self._packets(container):
                self._check_index(container)
                self._track.max_silence_s = GRACE_SILENCE_S + self._received / SILENT_BYTES_PER_S
                packets.decode(packet)
                self._check()

    def _audio(self, container: Any) -> Any:
        """Return the first audio stream. Raises DecodeError."""
        self._check_index(container)
        if not container.streams.audio:
            raise DecodeError("there is no audio track in it")
        stream = container.streams.audio[0]
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
        if codec not in CODECS:
            raise DecodeError(f"the codec '{codec}' is not accepted; accepted are {CODEC_NAMES}")
        stream.codec_context.thread_count = 1
        return stream

    def _packets(self, container: Any) -> Iterator[Any]:
        """Yield the packets of all streams, continuing after damaged places."""
        for _ in range(MAX_FAULTS):
            try:
                yield from container.demux()
                return
            except av.FFmpegError:
                continue
        raise DecodeError(f"it is damaged in more than {MAX_FAULTS} places")

    def _decode_flac(self) -> None:
        stream_info = b""
        decoder: Any = None
        for frame in FlacFrames(self._pull):
            if frame.stream_info is not stream_info:
                stream_info = frame.stream_info
                if decoder is not None:
                    self._track.restart()
                decoder = av.CodecContext.create("flac", "r")
                decoder.extradata = stream_info
                decoder.options = {"err_detect": "crccheck"}
            with contextlib.suppress(av.FFmpegError):
                for decoded in decoder.decode(av.Packet(frame.data)):
                    self._track.frame(decoded, frame.at_s)
            self._check()

    def _check_index(self, container: Any) -> None:
        """Raise DecodeError if the container's index claims samples that nothing backs."""
        entries = sum(len(stream.index_entries) for stream in container.streams)
        if entries > self._received + UNBACKED_ENTRIES:
            raise DecodeError("its index claims more samples than it has bytes")

    def _check(self) -> None:
        """Raise DecodeError if the stream is over a limit."""
        decoded_s = self._track.samples / SAMPLE_RATE
        if not decoded_s and not self._segments.keeps and self._received > MAX_HEADER_BYTES:
            raise DecodeError(f"there is no audio in its first {MAX_HEADER_BYTES >> 20} MB")
        if decoded_s > GRACE_S + self._received / MIN_BYTES_PER_S:
            raise DecodeError(f"it has less than {MIN_BYTES_PER_S} bytes a second")
        if time.process_time() - self._cpu_began_s > GRACE_CPU_S + MAX_CPU_PER_S * decoded_s:
            raise DecodeError(
                f"it takes more than {MAX_CPU_PER_S:g} s of CPU time for a second of audio"
            )

    def _undecodable(self) -> DecodeError:
        return DecodeError(f"no audio was found in it (read as {self._demuxer})")


@cache
def _decoders() -> str:
    """Return FFmpeg's names of the decoders of `CODECS`."""
    names = []
    for name in av.codecs_available:
        with contextlib.suppress(ValueError):  # an encoder only
            if av.Codec(name, "r").canonical_name in CODECS:
                names.append(name)
    return ",".join(names)
