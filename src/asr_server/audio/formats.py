"""Identify a recording by its first bytes.

Clients confuse `pcm` and `wav`, and declare the extension of any uploaded file; so unmistakable
first bytes decide, and otherwise the declared format.
"""

import re

from asr_server.errors import DecodeError

UNCOMPRESSED = ("pcm", "wav", "mulaw", "alaw")
COMPANDED = ("mulaw", "alaw")
RAW, WAVE = "raw", "wave"
"""What the server decodes itself: samples without and with a header."""
DEMUXERS = {
    "mp3": "mp3",
    "aac": "aac",
    "amr": "amr",
    "opus": "ogg",
    "speex": "ogg",
    "ogg": "ogg",
    "flac": "flac",
    "webm": "matroska",
    "mkv": "matroska",
    "m4a": "mov",
    "mp4": "mov",
    "mov": "mov",
    "3gp": "mov",
    "aiff": "aiff",
    "au": "au",
    "caf": "caf",
    "wma": "asf",
    "flv": "flv",
    "avi": "avi",
    "ts": "mpegts",
}
"""FFmpeg's demuxer by declared format."""
HEAD_BYTES = 12
"""Bytes that identify most formats."""
SIGNATURES = {
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"#!AMR": "amr",
    b"\x1aE\xdf\xa3": "matroska",
    b".snd": "au",
    b"caff": "caf",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"FLV\x01": "flv",
    b"\0\0\x01\xba": "mpeg",
    b"RIFX": "wav",
    b"riff\x2e\x91\xcf\x11": "w64",
}
"""FFmpeg's demuxer by first bytes that no PCM audio begins with by chance."""
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""What the first box of an MP4 or QuickTime file may be."""
OTHERS = {
    b"#!SILK": "SILK (a voice message of WeChat or QQ)",
    b"\x02#!SILK": "SILK (a voice message of WeChat or QQ)",
    b"MThd": "MIDI",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b\x08": "a gzip archive",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
}
ACCEPTED = (
    "accepted are WAV, MP3, AAC, M4A/MP4/MOV/3GP, Ogg, Opus, FLAC, WebM/MKV, AMR, AIFF, AU, CAF,"
    " WMA, FLV, AVI and MPEG-TS"
)
TEXT = re.compile(rb"[\t\n\r -~]{64}")
"""Base64 or an error page; no PCM audio begins so."""
TEXT_BYTES = 64
MAX_HEAD_BYTES = 1 << 14
"""Two frames of AAC, the longest that is looked at."""
ID3_HEADER_BYTES, MAX_TAG_BYTES = 10, 8 << 20


def identify(head: bytes, declared: str, *, last: bool = False) -> str | None:
    """Return RAW, WAVE or a demuxer; None if that takes more bytes, unless these are the last.

    Raises DecodeError for what is no audio, or none that is accepted.
    """
    if len(head) < HEAD_BYTES and not last:
        return None
    for signature, name in OTHERS.items():
        if head.startswith(signature):
            raise DecodeError(f"it is {name}; {ACCEPTED}")
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _riff(head)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] in BOXES:
        return "mov"
    for signature, demuxer in SIGNATURES.items():
        if head.startswith(signature):
            return demuxer
    found = _packets(head, declared)
    if found != "" and not (found is None and last):
        return found
    if declared in COMPANDED:  # whose samples may look like text
        return RAW
    if len(head) < TEXT_BYTES and not last and re.fullmatch(rb"[\t\n\r -~]+", head):
        return None
    if TEXT.match(head):
        raise DecodeError(f"it is text (base64?) and not audio; {ACCEPTED}")
    return RAW if declared in UNCOMPRESSED else DEMUXERS[declared]


def id3_bytes(data: bytes | bytearray) -> int:
    """Return the length of the ID3v2 tag that begins here."""
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return ID3_HEADER_BYTES + size + (ID3_HEADER_BYTES if data[5] & 0x10 else 0)


def _riff(head: bytes) -> str:
    kind = head[8:12]
    if kind == b"WAVE":
        return WAVE
    if kind == b"AVI ":
        return "avi"
    raise DecodeError(f"it is a RIFF file of another type than WAVE or AVI; {ACCEPTED}")


def _packets(head: bytes, declared: str) -> str | None:
    """Return the demuxer of a format without a header, None if undecided, "" if it is none.

    Samples may look like one packet by chance, so a second one must follow, unless it is declared.
    """
    for offset, size in ((0, 188), (4, 192)):  # MPEG-TS, also of camcorders
        syncs = head[offset::size][:3]
        if not syncs.strip(b"\x47"):
            if len(syncs) == 3:
                return "mpegts"
            if len(head) <= offset + 2 * size:
                return None
    if declared == "aac" and head[:1] == b"\x56" and head[1] & 0xE0 == 0xE0:
        return "loas"
    length = frame_bytes(head)
    if length == 0:
        return ""
    demuxer = "aac" if head[1] & 6 == 0 else "mp3"
    if declared == demuxer:
        return demuxer
    following = head[length : length + 3]
    if len(following) < 3:
        return None
    same = following[:2] == head[:2] and following[2] & 0x0C == head[2] & 0x0C
    return demuxer if same else ""


def frame_bytes(head: bytes) -> int:
    """Return the length of the MP3, MP2 or ADTS frame that begins here, or 0."""
    if len(head) < HEAD_BYTES or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    if head[1] & 0xF6 == 0xF0:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return length if length > 7 and head[2] >> 2 & 15 < 13 else 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, bits = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer not in (2, 3) or rate == 3 or bits in (0, 15):
        return 0
    first = version == 3
    kbits = _KBITS[layer if first else 0][bits - 1]
    samples = 576 if layer == 3 and not first else 1152
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return samples // 8 * kbits * 1000 // hertz + (head[2] >> 1 & 1)


_KBITS = {
    0: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
"""Bit rates by layer, and those of both layers in MPEG-2 (ISO 11172-3, 13818-3)."""
