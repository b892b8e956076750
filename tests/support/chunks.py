"""Recordings cut into chunks for a backend, as the engine cuts them."""

from collections.abc import Iterator, Sequence

import numpy as np

from asr_server.asr.types import Backend, DecodedToken, DecodeWork, Kind, Slot
from asr_server.audio.units import Pcm


def speechlike(seconds: float, seed: int = 0) -> Pcm:
    """Return noise whose loudness and colour change a few times a second, so that features vary."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    knots = np.arange(0, seconds + 0.2, 0.1)

    def curve(low: float, high: float) -> Pcm:
        return np.interp(time, knots, random.uniform(low, high, len(knots)))

    voice = sum(
        curve(0, 1) * np.sin(2 * np.pi * np.cumsum(curve(100, 4_000)) / 16_000) for _ in range(4)
    )
    samples = voice + curve(0, 0.5) * random.normal(0, 1, len(time))
    return (0.05 * curve(0, 1) * samples).astype(np.float32)


def chunks_of(backend: Backend, slot: Slot, samples: Pcm) -> Iterator[DecodeWork]:
    """Yield the whole chunks of a sentence, then the rest."""
    stride, context = backend.geometry.stride, backend.geometry.context
    position = 0
    while True:
        last = len(samples) - position < stride
        end = len(samples) if last else position + stride
        begin = position - context if position else 0
        kind = Kind.FLUSH if last else Kind.COMMIT
        yield DecodeWork(slot, kind, position == 0, samples[begin:end])
        if last:
            return
        position = end


def decode_one(backend: Backend, work: DecodeWork) -> tuple[DecodedToken, ...]:
    """Return the tokens of a chunk in a step of its own."""
    [result] = backend.decode([work])
    return result.tokens


def transcribe(backend: Backend, samples: Pcm, slot: Slot = 1) -> list[tuple[DecodedToken, ...]]:
    """Return the tokens of each chunk of one sentence, decoded alone."""
    return [decode_one(backend, work) for work in chunks_of(backend, slot, samples)]


def transcribe_together(backend: Backend, recordings: Sequence[Pcm]) -> list[list[str]]:
    """Return the pieces of every sentence, with one chunk of each in every step."""
    waiting = [list(chunks_of(backend, slot, pcm)) for slot, pcm in enumerate(recordings, start=1)]
    pieces: list[list[str]] = [[] for _ in recordings]
    while works := [chunks.pop(0) for chunks in waiting if chunks]:
        for work, result in zip(works, backend.decode(works), strict=True):
            pieces[work.slot - 1] += [token.piece for token in result.tokens]
    return pieces
