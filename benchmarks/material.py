"""What a crowd of all sorts says: one sentence or several, in every format, whole or broken off."""

import io
import random
import wave
from dataclasses import replace

import numpy as np
import soxr
from numpy.typing import NDArray

from asr_server.audio.units import SAMPLE_RATE
from asr_server.load.recordings import FRAME_S, Recording, Speech, read_recordings
from tests.support.encoding import can_encode, encode

FORMATS = ("pcm", "pcm", "pcm", "pcm8k", "wav", "opus", "mp3", "aac", "flac", "amr", "webm")
"""What clients send, in about the shares in which they do."""
WITHOUT_ENCODER = ("pcm", "pcm8k", "wav")
MOST_SENTENCES = 4
LONGEST_PAUSE_S = 2.0
BROKEN_OFF = 0.15
"""Share of the tasks whose client finishes in the middle."""


def material(count: int, seed: int = 0) -> list[Recording]:
    """`count` different recordings, always the same ones for a seed."""
    dice = random.Random(seed)
    alone = read_recordings([], 0.0, 0.8)
    return [_one(dice, alone, number) for number in range(count)]


def _one(dice: random.Random, alone: tuple[Recording, ...], number: int) -> Recording:
    pieces: list[NDArray[np.int16]] = []
    speech: list[Speech] = []
    for recording in dice.choices(alone, k=dice.randint(1, MOST_SENTENCES)):
        before = sum(map(len, pieces)) / SAMPLE_RATE
        speech += [Speech(before + s.begin_s, before + s.end_s) for s in recording.speech]
        pieces.append(np.frombuffer(b"".join(recording.frames), "<i2"))
        pieces.append(np.zeros(int(dice.uniform(0, LONGEST_PAUSE_S) * SAMPLE_RATE), "<i2"))
    kind = dice.choice([name for name in FORMATS if name in WITHOUT_ENCODER or can_encode(name)])
    sound = np.concatenate(pieces)
    whole = replace(_sent_as(kind, sound), name=f"{number:03}-{kind}", speech=tuple(speech))
    if dice.random() >= BROKEN_OFF:
        return whole
    kept = whole.frames[: max(5, int(dice.uniform(0.2, 0.9) * len(whole.frames)))]
    return replace(whole, name=f"{whole.name}-part", frames=kept)


def _sent_as(kind: str, sound: NDArray[np.int16]) -> Recording:
    rate = SAMPLE_RATE
    match kind:
        case "pcm":
            data = sound.tobytes()
        case "pcm8k":
            rate = 8000
            data = soxr.resample(sound, SAMPLE_RATE, rate).astype("<i2").tobytes()
        case "wav":
            file = io.BytesIO()
            with wave.open(file, "wb") as out:
                out.setparams((1, 2, rate, 0, "NONE", ""))
                out.writeframes(sound.tobytes())
            data = file.getvalue()
        case _:
            data = encode(sound, kind)
    count = -(-len(sound) // int(FRAME_S * SAMPLE_RATE))
    size = 2 * int(FRAME_S * rate) if kind.startswith("pcm") else -(-len(data) // count)
    frames = tuple(data[place : place + size] for place in range(0, len(data), size))
    return Recording(kind, frames, (), "pcm" if kind == "pcm8k" else kind, rate)
