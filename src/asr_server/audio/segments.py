"""Cut a stream where another recording begins in it, and find files that must be read backwards.

Chained Ogg, or a recorder that was restarted: FFmpeg's demuxers stop there, or fail. Each segment
is decoded by a demuxer of its own.
"""

import io
import math
import re
from collections.abc import Callable
from typing import Protocol

from asr_server.audio.formats import id3_bytes
from asr_server.errors import DecodeError

MAX_KEPT_BYTES = 24 << 20
"""A file whose index stands behind its audio is kept until its end; 50 minutes at 64 kbit/s."""
MAX_CAF_HEADER = 1 << 16
LONGEST_SIGNATURE = 64
SIGNATURES = {
    "matroska": (b"\x1aE\xdf\xa3", rb"\x1aE\xdf\xa3.{1,40}?\x42\x82.(?:webm|matroska)"),
    "amr": (b"#!AMR", rb"#!AMR(?:-WB)?\n"),
    "flv": (b"FLV\x01", rb"FLV\x01[\x01\x04\x05]\0\0\0\x09"),
    "wav": (b"RIFF", rb"RIFF....WAVEfmt "),
}
"""How a recording begins, by demuxer: the first bytes, and a pattern for what must follow."""


class Segments:
    """Read a stream piece by piece, segment by segment."""

    def __init__(self, demuxer: str, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._demuxer = demuxer
        self._cutter = _cutter(demuxer)
        self._ready = b""
        """Bytes of this segment."""
        self._held = b""
        """Bytes behind them, which may be the beginning of the next one."""
        self._cut = self._ended = False
        self.keeps = False
        """Whether this segment is kept until its end."""

    def read(self, size: int) -> bytes:
        """Return at least one byte of this segment, or none at its end."""
        while not self._ready and self._fill():
            pass
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def next(self) -> bool:
        """Go on to the next segment, if there is one; what is left of this one is dropped."""
        while not self._cut and self._fill():
            self._ready = b""
        if not self._cut:
            return False
        self._cut = self.keeps = False
        self._ready = b""
        self._cutter = _cutter(self._demuxer)
        held, self._held = self._held, b""
        self._scan(held)
        return True

    def kept(self) -> io.BytesIO | None:
        """Return the whole segment if its index stands behind its audio, else None.

        Raises DecodeError if it is too long to keep.
        """
        if not isinstance(self._cutter, _Boxes | _Caf):
            return None
        while self._cutter.index_is_last is None and self._fill():
            pass
        if not self._cutter.index_is_last:
            return None
        self.keeps = True
        whole = io.BytesIO()
        while data := self.read(1 << 16):
            whole.write(data)
            if whole.tell() > MAX_KEPT_BYTES:
                raise DecodeError(
                    f"{self._cutter.remedy}; up to {MAX_KEPT_BYTES >> 20} MB of such a file are"
                    " accepted"
                )
        whole.seek(0)
        return whole

    def _fill(self) -> bool:
        """Read one more piece; return whether there was one in this segment."""
        if self._cut or self._ended:
            return False
        data = self._receive()
        if data:
            self._scan(self._held + data)
        else:
            self._ended = True
            self._ready, self._held = self._ready + self._held, b""
        return bool(data)

    def _scan(self, data: bytes) -> None:
        ready, self._held, self._cut = self._cutter.scan(data)
        self._ready += ready


Scanned = tuple[bytes, bytes, bool]
"""Bytes of this segment, bytes to scan again with those that follow, whether the segment ends."""


class _Cutter(Protocol):
    def scan(self, data: bytes) -> Scanned: ...


class _NoCuts:
    """Pass a format on that has no header."""

    def scan(self, data: bytes) -> Scanned:
        return data, b"", False


class _Signature:
    """Cut before the pattern with which a recording begins."""

    def __init__(self, literal: bytes, pattern: bytes) -> None:
        self._literal = literal
        self.pattern = re.compile(pattern, re.DOTALL)
        self._begun = False

    def scan(self, data: bytes) -> Scanned:
        for match in self.pattern.finditer(data):
            if self.cuts(match.group()):
                return data[: match.start()], data[match.start() :], True
        end = self.undecided(data)
        return data[:end], data[end:], False

    def cuts(self, header: bytes) -> bool:
        """Return whether a segment ends before this header."""
        begun, self._begun = self._begun, True
        return begun

    def undecided(self, data: bytes) -> int:
        """Return where bytes begin that may become the pattern with those that follow."""
        at = max(0, len(data) - LONGEST_SIGNATURE + 1)
        while (at := data.find(self._literal[:1], at)) >= 0:
            literal = self._literal.startswith(data[at : at + len(self._literal)])
            if literal and not self.pattern.match(data, at):
                return at
            at += 1
        return len(data)


class _Ogg(_Signature):
    """Cut before the first page of a stream; those of the tracks of a video come together."""

    def __init__(self) -> None:
        super().__init__(b"OggS\0", rb"OggS\0[\0-\x07]")

    def cuts(self, header: bytes) -> bool:
        first_page = bool(header[5] & 2)
        cut = first_page and self._begun
        self._begun = not first_page
        return cut


class _Tags:
    """Drop ID3 tags in mid-stream: their pictures would count as damaged audio."""

    def __init__(self) -> None:
        self._signature = _Signature(b"ID3", rb"ID3[\2-\4]\0.[\0-\x7f]{4}")
        self._left = 0

    def scan(self, data: bytes) -> Scanned:
        kept = b""
        while True:
            data, self._left = data[self._left :], max(0, self._left - len(data))
            match = self._signature.pattern.search(data)
            if match is None:
                end = self._signature.undecided(data)
                return kept + data[:end], data[end:], False
            kept += data[: match.start()]
            data = data[match.start() :]
            self._left = id3_bytes(data)


class _Boxes:
    """Walk over the boxes of an MP4 file; the next file begins with `ftyp`."""

    remedy = (
        "its index (moov) stands behind its audio; write it in front (ffmpeg -movflags +faststart)"
    )

    def __init__(self) -> None:
        self._left: float = 0
        """Bytes until the next box."""
        self._media = False
        self.index_is_last: bool | None = None
        """Whether the audio stands in front of the index, or None if neither has come yet."""

    def scan(self, data: bytes) -> Scanned:
        at = 0
        while at < len(data):
            step = int(min(self._left, len(data) - at))
            at += step
            self._left -= step
            if at == len(data):
                break
            size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
            if len(data) - at < (16 if size == 1 else 8):
                break
            if kind == b"ftyp" and self._media:
                return data[:at], data[at:], True
            self._media |= kind == b"mdat"
            if self.index_is_last is None and kind in (b"moov", b"moof", b"mdat"):
                self.index_is_last = kind == b"mdat"
            if size == 1:
                size = int.from_bytes(data[at + 8 : at + 16], "big")
            self._left = size if size >= 8 else math.inf  # 0: up to the end; or it is damaged
        return data[:at], data[at:], False


class _Caf:
    """Walk over the chunks of a CAF file up to its audio; packets of any size need a table."""

    remedy = "its packet table stands behind its audio; send it as m4a"

    def __init__(self) -> None:
        self._head = b""
        self._at = 8
        """Where the next chunk begins."""
        self._variable = False
        self.index_is_last: bool | None = None

    def scan(self, data: bytes) -> Scanned:
        if self.index_is_last is None:
            self._head += data
            self._walk()
        return data, b"", False

    def _walk(self) -> None:
        while len(self._head) >= self._at + 40:
            kind, size = self._head[self._at : self._at + 4], self._head[self._at + 4 :][:8]
            if kind == b"desc":
                self._variable = not any(self._head[self._at + 28 : self._at + 32])
            if kind in (b"pakt", b"data") or len(self._head) > MAX_CAF_HEADER:
                self.index_is_last = kind == b"data" and self._variable
                self._head = b""
                return
            self._at += 12 + int.from_bytes(size, "big")


def _cutter(demuxer: str) -> _Cutter:
    if demuxer == "mov":
        return _Boxes()
    if demuxer == "ogg":
        return _Ogg()
    if demuxer == "caf":
        return _Caf()
    if demuxer in ("mp3", "aac"):
        return _Tags()
    if demuxer in SIGNATURES:
        return _Signature(*SIGNATURES[demuxer])
    return _NoCuts()
