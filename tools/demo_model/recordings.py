"""Recordings: one to three sentences with silence around them, in a room, on a line, with noise."""

from dataclasses import dataclass
from random import Random

import numpy as np

from . import augment
from .grammar import Sentence
from .synthesis import SAMPLE_RATE, Synthesiser, Utterance
from .voices import Voice

Generator = np.random.Generator


@dataclass(frozen=True, slots=True)
class Silences:
    """Seconds of silence before, between and after the sentences of a recording.

    A negative `after` cuts the recording right where the last sound ends.
    """

    before: float
    between: float
    after: float


@dataclass(frozen=True, slots=True)
class Conditions:
    """Everything that happens to the sound; None leaves a step out."""

    peak_db: float = -6.0
    snr_db: float | None = None
    noise: int = 0  # index into the noise bank
    reverberant: bool = False
    telephone: bool = False
    mu_law: bool = False
    clipped: float = 1.0  # gain beyond full scale
    digital_silence: bool = True
    dither: float = 0.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples with the characters in them: text and begin and end of each in samples."""

    pcm: np.ndarray
    text: str
    begins: np.ndarray
    ends: np.ndarray


def draw_silences(rng: Generator) -> Silences:
    """How a voice activity detector cuts speech, most of the time; long silences now and then."""
    shape = rng.random()
    between = rng.uniform(0.1, 1.5)
    if shape < 0.75:
        after = -1.0 if rng.random() < 0.2 else rng.uniform(0.0, 1.0)
        return Silences(rng.uniform(0.1, 0.5), between, after)
    if shape < 0.90:
        return Silences(rng.uniform(0.0, 1.0), between, rng.uniform(0.0, 1.5))
    return Silences(rng.uniform(0.0, 4.0), rng.uniform(0.3, 3.5), rng.uniform(0.0, 5.0))


def draw_conditions(rng: Generator, noises: int) -> Conditions:
    """Conditions of a training recording."""
    telephone = rng.random() < 0.2
    noisy = rng.random() < 0.6
    return Conditions(
        peak_db=rng.uniform(-26, -0.5),
        snr_db=rng.uniform(5, 35) if noisy else None,
        noise=int(rng.integers(noises)),
        reverberant=rng.random() < 0.25,
        telephone=telephone,
        mu_law=telephone and rng.random() < 0.5,
        clipped=rng.uniform(1.2, 3.0) if rng.random() < 0.04 else 1.0,
        digital_silence=rng.random() < 0.5,
        dither=1.0 if rng.random() < 0.15 else 0.0,
    )


def assemble(
    spoken: list[tuple[Sentence, Utterance]], silences: Silences
) -> tuple[np.ndarray, str, np.ndarray, np.ndarray]:
    """Lay utterances one after another: samples, text, begins and ends of characters."""
    pieces = [np.zeros(int(silences.before * SAMPLE_RATE), np.float32)]
    position = len(pieces[0])
    begins, ends = [], []
    for index, (_, utterance) in enumerate(spoken):
        samples = utterance.samples
        last = index == len(spoken) - 1
        if last and silences.after < 0:
            samples = samples[: int(utterance.ends[-1])]
        begins.append(utterance.begins + position)
        ends.append(utterance.ends + position)
        gap = max(silences.after, 0.0) if last else silences.between
        pieces += [samples, np.zeros(int(gap * SAMPLE_RATE), np.float32)]
        position += len(samples) + len(pieces[-1])
    text = "".join(sentence.text for sentence, _ in spoken)
    return np.concatenate(pieces), text, np.concatenate(begins), np.concatenate(ends)


def apply(
    samples: np.ndarray,
    conditions: Conditions,
    noises: list[np.ndarray],
    rng: Generator,
) -> np.ndarray:
    """Put clean samples under the conditions, to 16-bit samples."""
    samples = augment.set_peak(samples, conditions.peak_db)
    loud = samples[np.abs(samples) > 1e-4]
    power = float(np.mean(loud**2)) if len(loud) else 1e-4
    if conditions.reverberant:
        samples = augment.reverberate(samples, rng)
    if conditions.snr_db is not None:
        noise = augment.cut(noises[conditions.noise], len(samples), rng)
        samples = augment.add_noise(samples, noise, conditions.snr_db, power)
    elif not conditions.digital_silence:
        # The floor of a quiet line: one or a few of the 16 bits.
        floor = np.float32(10 ** (rng.uniform(-90, -65) / 20))
        samples = samples + augment.cut(noises[conditions.noise], len(samples), rng) * floor
    if conditions.clipped > 1.0:
        peak = float(np.abs(samples).max()) or 1.0
        samples = np.clip(samples / peak * conditions.clipped, -1, 1).astype(np.float32)
    if conditions.telephone:
        samples = augment.telephone(samples.astype(np.float32), conditions.mu_law)
    return augment.as_pcm(samples)


def record(
    synthesiser: Synthesiser,
    sentences: list[Sentence],
    voice: Voice,
    silences: Silences,
    conditions: Conditions,
    noises: list[np.ndarray],
    rng: Generator,
) -> Recording | None:
    """Speak sentences and put them into a recording; None when the synthesiser lost count."""
    spoken = []
    for sentence in sentences:
        utterance = synthesiser.say(sentence.punctuated, voice)
        if utterance is None:
            return None
        spoken.append((sentence, utterance))
    samples, text, begins, ends = assemble(spoken, silences)
    return Recording(apply(samples, conditions, noises, rng), text, begins, ends)


def wordless(noises: list[np.ndarray], rng: Generator) -> Recording:
    """Sound without words: silence, noise, a tone or clicks, which must give no text."""
    length = int(rng.uniform(0.4, 5.0) * SAMPLE_RATE)
    shape = rng.random()
    samples = np.zeros(length, np.float32)
    if shape < 0.5:
        samples = augment.cut(noises[int(rng.integers(3))], length, rng).copy()
    elif shape < 0.7:
        samples = np.sin(np.arange(length) * rng.uniform(0.02, 1.5)).astype(np.float32)
    elif shape < 0.85:
        samples[rng.integers(0, length, size=int(rng.integers(1, 8)))] = 1.0
    pcm = augment.as_pcm(augment.set_peak(samples, rng.uniform(-60, -6)))
    return Recording(pcm, "", np.zeros(0, np.int64), np.zeros(0, np.int64))


def noise_bank(synthesiser: Synthesiser, sentences: list[Sentence], seed: int) -> list[np.ndarray]:
    """White, pink, brown, and babble of training voices."""
    from .voices import training_voice

    rng = np.random.default_rng(seed)
    choose = Random(seed)
    talk = [
        synthesiser.say(choose.choice(sentences).punctuated, training_voice(choose))
        for _ in range(80)
    ]
    voices = [utterance.samples for utterance in talk if utterance is not None]
    return [*augment.noise_bank(rng), augment.babble(voices)]
