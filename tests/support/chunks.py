"""Recordings cut into chunks for a backend, as the engine does it."""

from collections.abc import Iterator, Sequence

import numpy as np

from asr_server.asr.types import Backend, DecodedToken, DecodeWork, Kind, Pcm, Step, StreamId


def speechlike(seconds: float, seed: int = 0) -> Pcm:
    """Noise whose loudness and colour change a few times a second, so that features vary."""
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


def chunks_of(backend: Backend, stream: StreamId, samples: Pcm) -> Iterator[DecodeWork]:
    """The whole chunks of a sentence, then what is left."""
    stride, context = backend.geometry.stride, backend.geometry.context
    position = 0
    while True:
        last = len(samples) - position < stride
        end = len(samples) if last else position + stride
        begin = position - context if position else 0
        kind = Kind.FLUSH if last else Kind.COMMIT
        yield DecodeWork(stream, kind, position == 0, samples[begin:end])
        if last:
            return
        position = end


def transcribe(
    backend: Backend, samples: Pcm, stream: StreamId = 1
) -> list[tuple[DecodedToken, ...]]:
    """What each chunk of one sentence gives when nobody else is there."""
    backend.step(Step(opened=(stream,)))
    heard = [
        backend.step(Step(chunks=(work,))).heard[0].tokens
        for work in chunks_of(backend, stream, samples)
    ]
    backend.step(Step(closed=(stream,)))
    return heard


def transcribe_together(backend: Backend, recordings: Sequence[Pcm]) -> list[list[str]]:
    """The pieces of every sentence, one chunk of each in every step."""
    streams = range(len(recordings))
    backend.step(Step(opened=tuple(streams)))
    waiting = [list(chunks_of(backend, stream, recordings[stream])) for stream in streams]
    heard: list[list[str]] = [[] for _ in streams]
    while works := tuple(chunks.pop(0) for chunks in waiting if chunks):
        for work, result in zip(works, backend.step(Step(chunks=works)).heard, strict=True):
            heard[work.stream] += [token.piece for token in result.tokens]
    backend.step(Step(closed=tuple(streams)))
    return heard
