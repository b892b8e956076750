"""Make recordings of one sentence or several, in every format, whole or cut short."""

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
"""Formats of the recordings, repeated for their shares among clients."""
WITHOUT_ENCODER = ("pcm", "pcm8k", "wav")
MAX_SENTENCES = 4
MAX_PAUSE_S = 2.0
CUT_SHARE = 0.15
"""Share of the recordings that end in the middle."""


def mixed_recordings(count: int, seed: int = 0) -> list[Recording]:
    """Return `count` different recordings; the same seed gives the same recordings."""
    rng = random.Random(seed)
    sentences = read_recordings([], 0.0, 0.8)
    return [_recording(rng, sentences, number) for number in range(count)]


def _recording(rng: random.Random, sentences: tuple[Recording, ...], number: int) -> Recording:
    pieces: list[NDArray[np.int16]] = []
    speech: list[Speech] = []
    for sentence in rng.choices(sentences, k=rng.randint(1, MAX_SENTENCES)):
        offset_s = sum(map(len, pieces)) / SAMPLE_RATE
        speech += [Speech(offset_s + s.begin_s, offset_s + s.end_s) for s in sentence.speech]
        pieces.append(np.frombuffer(b"".join(sentence.frames), "<i2"))
        pieces.append(np.zeros(int(rng.uniform(0, MAX_PAUSE_S) * SAMPLE_RATE), "<i2"))
    fmt = rng.choice([name for name in FORMATS if name in WITHOUT_ENCODER or can_encode(name)])
    encoded = _encoded(fmt, np.concatenate(pieces))
    whole = replace(encoded, name=f"{number:03}-{fmt}", speech=tuple(speech))
    if rng.random() >= CUT_SHARE:
        return whole
    frames = whole.frames[: max(5, int(rng.uniform(0.2, 0.9) * len(whole.frames)))]
    return replace(whole, name=f"{whole.name}-part", frames=frames)


def _encoded(fmt: str, pcm: NDArray[np.int16]) -> Recording:
    """Return the samples in a format, cut into as many messages as 100 ms frames of PCM."""
    rate = SAMPLE_RATE
    match fmt:
        case "pcm":
            data = pcm.tobytes()
        case "pcm8k":
            rate = 8000
            data = soxr.resample(pcm, SAMPLE_RATE, rate).astype("<i2").tobytes()
        case "wav":
            file = io.BytesIO()
            with wave.open(file, "wb") as out:
                out.setparams((1, 2, rate, 0, "NONE", ""))
                out.writeframes(pcm.tobytes())
            data = file.getvalue()
        case _:
            data = encode(pcm, fmt)
    count = -(-len(pcm) // int(FRAME_S * SAMPLE_RATE))
    size = 2 * int(FRAME_S * rate) if fmt.startswith("pcm") else -(-len(data) // count)
    frames = tuple(data[place : place + size] for place in range(0, len(data), size))
    return Recording(fmt, frames, (), "pcm" if fmt == "pcm8k" else fmt, rate)
