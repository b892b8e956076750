"""Held-out test sets as recordings with transcripts and true character times.

A   seen voices at unseen speed and pitch, light noise      A2  the same, clean
B   voices absent from the training set                     C   four sentences with pauses
N   noise at 15 dB                                          E   an 8 kHz line, stored at 8 kHz
Every sentence is one that training never used; A to E draw from the same sentences.
"""

import json
import wave
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soxr
from rich.progress import track

from . import grammar
from .dataset import SEED, SENTENCES, is_for_tests
from .recordings import Conditions, Recording, Silences, noise_bank, record
from .synthesis import SAMPLE_RATE, Synthesiser
from .voices import TRAINING_VOICES, UNSEEN_VOICES, Voice, held_out_voice

SIZES = {"A": 300, "A2": 100, "B": 200, "C": 40, "N": 200, "E": 100}


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording of a test set, as a line of its manifest."""

    file: str
    text: str
    punctuated: str
    voice: str
    rate: int
    pitch: int
    sample_rate: int
    characters: list[dict[str, object]]


def held_out_sentences() -> list[grammar.Sentence]:
    """The sentences for tests, in the order of the grammar."""
    corpus = grammar.build_corpus(SEED, SENTENCES)
    return [sentence for sentence in corpus.held_out if is_for_tests(sentence)]


def character_times(made: Recording) -> list[dict[str, object]]:
    """Begin and end of every character in milliseconds from the start of the recording."""
    to_ms = 1000 / SAMPLE_RATE
    return [
        {"char": char, "begin_ms": round(begin * to_ms), "end_ms": round(end * to_ms)}
        for char, begin, end in zip(made.text, made.begins, made.ends, strict=True)
    ]


def write_wav(path: Path, pcm: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm.astype("<i2").tobytes())


def read_wav(path: Path) -> np.ndarray:
    """16-bit samples at 16 kHz, resampled where the file has another rate."""
    with wave.open(str(path), "rb") as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        rate = file.getframerate()
    if rate == SAMPLE_RATE:
        return pcm
    wide = soxr.resample(pcm.astype(np.float32), rate, SAMPLE_RATE, "HQ")
    return np.clip(np.round(wide), -32768, 32767).astype(np.int16)


def _conditions(name: str, rng: np.random.Generator) -> Conditions:
    snr = {"A": 25.0, "B": 25.0, "C": 25.0, "N": 15.0}.get(name)
    return Conditions(
        peak_db=rng.uniform(-20, -2), snr_db=snr, noise=int(rng.integers(4)), digital_silence=False
    )


def _voice(name: str, number: int, choose: Random) -> Voice:
    if name == "B":
        # The same number of recordings from each.
        return held_out_voice(choose, [UNSEEN_VOICES[number % len(UNSEEN_VOICES)]])
    return held_out_voice(choose, TRAINING_VOICES)


def _silences(name: str, rng: np.random.Generator) -> Silences:
    if name == "C":
        return Silences(0.5, rng.uniform(0.6, 2.0), 1.0)
    return Silences(0.3, 0.0, rng.uniform(0.2, 0.8))


def build(folder: Path) -> None:
    """Write all sets: `<set>/*.wav` and `<set>.jsonl`."""
    sentences = held_out_sentences()
    synthesiser = Synthesiser()
    noises = noise_bank(synthesiser, sentences, SEED + 1)
    for name, size in SIZES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        entries = []
        for number in track(range(size), f"test set {name}"):
            # E repeats the voices and sentences of A2, so that the two can be compared.
            key = f"{'A2' if name == 'E' else name} {number}"
            choose, rng = Random(key), np.random.default_rng([SEED, sum(key.encode()), number])
            chosen = choose.sample(sentences, 4 if name == "C" else 1)
            voice = _voice(name, number, choose)
            made = record(
                synthesiser,
                chosen,
                voice,
                _silences(name, rng),
                _conditions(name, rng),
                noises,
                rng,
            )
            if made is None:
                raise RuntimeError(f"cannot speak {chosen}")
            pcm, sample_rate = made.pcm, SAMPLE_RATE
            if name == "E":
                sample_rate = SAMPLE_RATE // 2
                narrow = soxr.resample(pcm.astype(np.float32), SAMPLE_RATE, sample_rate, "HQ")
                pcm = np.clip(np.round(narrow), -32768, 32767)
            file = f"{name}/{number:03d}.wav"
            write_wav(folder / file, pcm, sample_rate)
            entries.append(
                Entry(
                    file,
                    made.text,
                    "".join(sentence.punctuated for sentence in chosen),
                    voice.variant,
                    voice.rate,
                    voice.pitch,
                    sample_rate,
                    character_times(made),
                )
            )
        write_manifest(folder / f"{name}.jsonl", entries)


def write_manifest(path: Path, entries: list[Entry]) -> None:
    lines = [
        json.dumps({k: getattr(e, k) for k in Entry.__dataclass_fields__}, ensure_ascii=False)
        for e in entries
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> list[Entry]:
    lines = path.read_text("utf-8").splitlines()
    return [Entry(**json.loads(line)) for line in lines]
