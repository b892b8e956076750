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
TRANSPORT = frozenset({"mpeg", "mpegts"})
"""Demuxers of streams that may be joined at any time: they begin with their first packet."""
UNCLOCKED = frozenset({"aac", "aiff", "amr", "au", "caf", "loas", "mp3", "w64", "wav"})
"""Demuxers that count packets instead of reading time stamps, at the rate of the first one."""
GRANULE = {"aac": 1024, "mp3": 576}
"""Samples of which whole frames are multiples."""
MP3_DELAY = 528 + 1 + 576
"""Samples that an MP3 decoder and the usual encoder, LAME, put before the first of the audio."""


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
            clock = _Clock(self._demuxer, stream)
            for packet in self._packets(container):
                self._check_index(container)
                if packet.stream.index == stream.index:
                    self._packet(packet, clock)
                else:
                    clock.other(packet)
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

    def _packet(self, packet: Any, clock: "_Clock") -> None:
        silence_s = GRACE_SILENCE_S + self._received / SILENT_BYTES_PER_S
        self._track.max_silence_s = silence_s
        self._track.lose(clock.skipped_s(packet))
        try:
            frames = packet.decode()
        except av.FFmpegError:  # damaged, or a pause of AMR; the next one may be whole
            if packet.duration and packet.size:
                self._track.lose(float(packet.duration * packet.time_base))
            return
        for frame in frames:
            if priming := clock.priming(frame):
                self._track.prime(priming, frame.sample_rate)
            self._track.frame(frame, clock.time_s(frame), clock.origin_s)

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
        if not decoded_s and self._received > MAX_HEADER_BYTES:
            raise DecodeError(f"there is no audio in its first {MAX_HEADER_BYTES >> 20} MB")
        if decoded_s > GRACE_S + self._received / MIN_BYTES_PER_S:
            raise DecodeError(f"it has less than {MIN_BYTES_PER_S} bytes a second")
        if time.process_time() - self._cpu_began_s > GRACE_CPU_S + MAX_CPU_PER_S * decoded_s:
            raise DecodeError(
                f"it takes more than {MAX_CPU_PER_S:g} s of CPU time for a second of audio"
            )

    def _undecodable(self) -> DecodeError:
        return DecodeError(f"no audio was found in it (read as {self._demuxer})")


class _Clock:
    """Read the time stamps of the audio of a recording."""

    def __init__(self, demuxer: str, stream: Any) -> None:
        self._stream = stream
        self._codec = stream.codec_context.codec.canonical_name
        self._counted = demuxer in UNCLOCKED
        self._by_bytes = demuxer in ("mp3", "aac")
        self._joined = demuxer in TRANSPORT
        self.origin_s: float | None = None if self._joined else 0.0
        """The time stamp at which the recording begins, if known."""
        self._packets = 0
        self._primed = False
        self._bytes = 0
        self._bytes_s = 0.0
        """What the packets had until now, and how long they took."""
        self._end = 0
        """Where the next packet begins."""

    def other(self, packet: Any) -> None:
        """Take note of a packet of another stream: a video may begin before its audio."""
        if self._joined and not self._packets and packet.pts is not None:
            at_s = float(packet.pts * packet.time_base)
            self.origin_s = at_s if self.origin_s is None else min(self.origin_s, at_s)

    def time_s(self, frame: Any) -> float | None:
        """Return the time stamp of a frame, if it has one."""
        if self._counted or frame.pts is None:
            return None
        return float(frame.pts * frame.time_base)

    def skipped_s(self, packet: Any) -> float:
        """Return the time of damaged bytes before a packet, if no time stamp counts it.

        It is estimated from the bytes and times of all packets before.
        """
        self._packets += 1
        if not self._by_bytes or packet.pos is None or not packet.size:
            return 0.0
        skipped = packet.pos - self._end
        lost_s = 0.0
        if self._bytes and skipped > packet.size:
            lost_s = skipped * self._bytes_s / self._bytes
        self._end = packet.pos + packet.size
        self._bytes += packet.size
        self._bytes_s += float((packet.duration or 0) * packet.time_base)
        return lost_s

    def priming(self, frame: Any) -> int:
        """Return how many samples of the first frame only fill the decoder.

        A container that counts them has FFmpeg drop them: the first frame is not whole then.
        """
        first, self._primed = not self._primed, True
        if not first or self._packets > 1 or frame.samples % GRANULE.get(self._codec, 1):
            return 0
        return {"aac": int(frame.samples), "mp3": MP3_DELAY}.get(self._codec, 0)


@cache
def _decoders() -> str:
    """Return FFmpeg's names of the decoders of `CODECS`."""
    names = []
    for name in av.codecs_available:
        with contextlib.suppress(ValueError):  # an encoder only
            if av.Codec(name, "r").canonical_name in CODECS:
                names.append(name)
    return ",".join(names)
