"""Valid files of every format, and arbitrary damage to them."""

import random
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np

from tests.support.attacks.media import encoded, floats
from tests.support.encoding import FORMATS, RATE, can_encode, encode

Kind = Literal["overwrite", "insert", "remove", "repeat", "flip", "cut"]


@dataclass(frozen=True)
class Edit:
    """Change some bytes of a file."""

    kind: Kind
    place: float
    """Where in the file, 0 to 1."""
    length: int
    data: bytes

    def apply(self, file: bytes) -> bytes:
        """Return the changed file."""
        begin = int(self.place * len(file))
        end = begin + self.length
        match self.kind:
            case "overwrite":
                return file[:begin] + self.data + file[begin + len(self.data) :]
            case "insert":
                return file[:begin] + self.data + file[begin:]
            case "remove":
                return file[:begin] + file[end:]
            case "repeat":
                return file[:end] + file[begin:end] + file[end:]
            case "flip":
                flipped = bytes(byte ^ 255 for byte in file[begin:end])
                return file[:begin] + flipped + file[end:]
            case "cut":
                return file[:begin]


def random_edit(source: random.Random) -> Edit:
    """Return an edit; half of them are in the first kilobyte of a file, where its headers are."""
    place = source.random() ** 4 if source.random() < 0.5 else source.random()
    kind = source.choice(get_args(Kind))
    return Edit(kind, place, source.randrange(1, 2000), source.randbytes(source.randrange(1, 40)))


@cache
def valid_files() -> dict[str, bytes]:
    """Return a second of sound in every container and codec that can be written here."""
    tone = (9000 * np.sin(np.arange(RATE) * 0.2)).astype(np.int16)
    files = {format: encode(tone, format) for format in FORMATS if can_encode(format)}
    for codec in ("adpcm_ms", "adpcm_ima_wav", "g722", "pcm_mulaw", "pcm_s24le"):
        files[f"wav {codec}"] = encoded(codec, "wav", tone)
    for codec in ("alac", "mp2", "wavpack", "pcm_s16be"):
        files[f"webm {codec}"] = encoded(codec, "matroska", tone)
    files["mp4 alac"] = encoded("alac", "mp4", tone)
    files["mp4 floats"] = floats(float("nan"), "mov", "pcm_f64le")
    files["webm floats"] = floats(float("inf"))
    files["wav floats"] = floats(3e38, "wav")
    return files
