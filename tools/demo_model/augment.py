"""What happens to speech before a signal reaches us: rooms, noise, narrow bands."""

import numpy as np
import soxr
from scipy.signal import fftconvolve, lfilter

from .synthesis import SAMPLE_RATE

Generator = np.random.Generator


def noise_bank(rng: Generator, seconds: int = 60) -> list[np.ndarray]:
    """White, pink and brown noise of unit power, to cut pieces from."""
    white = rng.standard_normal(seconds * SAMPLE_RATE)
    # Pink: the usual three-pole approximation of 1/f; brown: a leaky integrator.
    pink = lfilter(
        [0.049922, -0.095994, 0.050613, -0.004409], [1, -2.494956, 2.017266, -0.522190], white
    )
    brown = lfilter([1.0], [1, -0.98], white)
    return [(n / n.std()).astype(np.float32) for n in (white, pink, brown)]


def babble(voices: list[np.ndarray], seconds: int = 40) -> np.ndarray:
    """Return babble noise: overlapping utterances at unit power."""
    length = seconds * SAMPLE_RATE
    total = np.zeros(length, np.float32)
    position = 0
    for samples in voices:
        piece = samples / (samples.std() + 1e-6)
        start = position % length
        take = min(len(piece), length - start)
        total[start : start + take] += piece[:take]
        # A stride shorter than an utterance stacks about six of them.
        position += max(1, len(piece) // 6)
    return total / (total.std() + 1e-6)


def cut(noise: np.ndarray, length: int, rng: Generator) -> np.ndarray:
    """A random piece of a noise, wrapped where it is too short."""
    start = int(rng.integers(0, len(noise)))
    if start + length <= len(noise):
        return noise[start : start + length]
    return np.resize(np.roll(noise, -start), length)


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float, power: float) -> np.ndarray:
    """Add noise of unit power at a signal-to-noise ratio against the given speech power."""
    return samples + noise * np.float32(np.sqrt(power * 10 ** (-snr_db / 10)))


def reverberate(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """A small room: a direct path and an exponentially decaying tail (T60 0.1-0.6 s)."""
    decay = rng.uniform(0.1, 0.6)
    tail = rng.standard_normal(int(decay * 0.6 * SAMPLE_RATE)).astype(np.float32)
    tail *= np.exp(-6.908 / (decay * SAMPLE_RATE) * np.arange(len(tail))).astype(np.float32)
    tail[: int(0.002 * SAMPLE_RATE)] = 0
    tail *= np.sqrt(10 ** (-rng.uniform(0, 12) / 10) / max(float(tail @ tail), 1e-9))
    tail[0] = 1.0
    return fftconvolve(samples, tail)[: len(samples)].astype(np.float32)


def telephone(samples: np.ndarray, mu_law: bool) -> np.ndarray:
    """What an 8 kHz line leaves: band limit, and G.711-like companding to 8 bits."""
    narrow = soxr.resample(samples, SAMPLE_RATE, SAMPLE_RATE // 2, "MQ")
    if mu_law:
        narrow = np.clip(narrow, -1, 1)
        companded = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
        companded = np.round(companded * 127) / 127
        narrow = np.sign(companded) * (256 ** np.abs(companded) - 1) / 255
    wide = soxr.resample(narrow.astype(np.float32), SAMPLE_RATE // 2, SAMPLE_RATE, "MQ")
    return np.resize(wide, len(samples)) if len(wide) < len(samples) else wide[: len(samples)]


def set_peak(samples: np.ndarray, decibels: float) -> np.ndarray:
    """Scale so that the largest sample lies at a level below full scale."""
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    return samples if peak == 0 else samples * np.float32(10 ** (decibels / 20) / peak)


def as_pcm(samples: np.ndarray) -> np.ndarray:
    """Round to 16 bits, as any client sends it."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
