"""Decode the packets of an audio track, and read its clock."""

from typing import Any

import av

from asr_server.audio.formats import HEAD_BYTES, frame_bytes
from asr_server.audio.track import Track

TRANSPORT = frozenset({"mpeg", "mpegts"})
"""Demuxers of streams that may be joined at any time: they begin with their first packet."""
UNCLOCKED = frozenset({"aac", "aiff", "amr", "au", "caf", "loas", "mp3", "w64", "wav"})
"""Demuxers that count packets instead of reading time stamps, at the rate of the first one."""
GRANULE = {"aac": 1024, "mp3": 576}
"""Samples of which whole frames are multiples."""
MP3_DELAY = 528 + 1 + 576
"""Samples that an MP3 decoder and the usual encoder, LAME, put before the first of the audio."""


class Packets:
    """Decode packets of one audio stream of a demuxer into a track."""

    def __init__(self, demuxer: str, stream: Any, track: Track) -> None:
        self._stream = stream
        self._track = track
        self._codec = stream.codec_context.codec.canonical_name
        self._counted = demuxer in UNCLOCKED
        self._by_bytes = demuxer in ("mp3", "aac")
        self._joined = demuxer in TRANSPORT
        self._origin_s: float | None = None if self._joined else 0.0
        """The time stamp at which the recording begins, if known."""
        self._packets = 0
        self._primed = False
        self._bytes = 0
        self._bytes_s = 0.0
        """What the packets had until now, and how long they took."""
        self._end = 0
        """Where the next packet begins."""

    def decode(self, packet: Any) -> None:
        """Decode a packet of the stream; take note of one of another stream."""
        if packet.stream.index != self._stream.index:
            self._other(packet)
            return
        self._packets += 1
        self._track.lose(self._skipped_s(packet))
        try:
            frames = packet.decode()
        except av.FFmpegError:  # damaged, or a pause of AMR; the next one may be whole
            if packet.duration and packet.size:
                self._track.lose(float(packet.duration * packet.time_base))
            return
        for frame in frames:
            if priming := self._priming(frame):
                self._track.prime(priming, frame.sample_rate)
            known = not self._counted and frame.pts is not None
            at_s = float(frame.pts * frame.time_base) if known else None
            self._track.frame(frame, at_s, self._origin_s)

    def _other(self, packet: Any) -> None:
        """Note when a video begins that may begin before its audio."""
        if self._joined and not self._packets and packet.pts is not None:
            at_s = float(packet.pts * packet.time_base)
            self._origin_s = at_s if self._origin_s is None else min(self._origin_s, at_s)

    def _skipped_s(self, packet: Any) -> float:
        """Return the time of damaged bytes before a packet, if no time stamp counts it.

        It is estimated from the bytes and times of all packets before.
        """
        if not self._by_bytes or packet.pos is None or not packet.size:
            return 0.0
        mean = self._bytes // max(1, self._packets - 1)
        size = frame_bytes(bytes(packet)[:HEAD_BYTES]) or min(packet.size, mean)
        skipped = packet.pos - self._end + packet.size - size
        lost_s = 0.0
        if self._bytes and skipped > size:
            lost_s = skipped * self._bytes_s / self._bytes
        self._end = packet.pos + packet.size
        self._bytes += size
        self._bytes_s += float((packet.duration or 0) * packet.time_base)
        return lost_s

    def _priming(self, frame: Any) -> int:
        """Return how many samples of the first frame only fill the decoder.

        A container that counts them has FFmpeg drop them: the first frame is not whole then.
        """
        first, self._primed = not self._primed, True
        if not first or self._packets > 1 or frame.samples % GRANULE.get(self._codec, 1):
            return 0
        return {"aac": int(frame.samples), "mp3": MP3_DELAY}.get(self._codec, 0)
