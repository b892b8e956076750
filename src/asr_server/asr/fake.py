"""A backend that hears one 字 per chunk: real in everything but the model.

It keeps per-stream state as strictly as the real one and complains when streams are mixed up, so
that everything around the model can be tested without weights.
"""

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.types import (
    ChunkGeometry,
    DecodedToken,
    DecodeResult,
    DecodeWork,
    Kind,
    Step,
    StepResult,
    StreamId,
)
from asr_server.audio.endpointer import WINDOW
from asr_server.audio.units import Pcm

SURE = 9.0
"""Nats between the 字 it hears and all others."""

LOUD = 0.01
"""Root mean square from which a window counts as speech."""

TEXT = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"

SOUNDALIKES = "悬皇"
"""What it may be told to hear as a hotword, in place of 玄黄."""


class FakeBackend:
    """Loud windows are speech; the n-th chunk of a sentence says the n-th 字 of a fixed text."""

    name = "fake"
    device = "cpu"
    dtype = "none"
    gpu: str | None = None
    lanes = 1
    geometry = ChunkGeometry(stride=9_600, context=480)
    vocabulary = tuple(TEXT + SOUNDALIKES)

    def __init__(self) -> None:
        self._chunks: dict[StreamId, int] = {}

    def step(self, step: Step) -> StepResult:
        """Compute one step."""
        for stream in step.closed:
            self._chunks.pop(stream, None)
        for stream in step.opened:
            self._chunks[stream] = 0
        probabilities = [_loudness(work.pcm) for work in step.judge]
        return StepResult(probabilities, [self._hear(work) for work in step.chunks])

    def warm_up(self) -> None:
        """There is nothing to warm."""

    def _hear(self, work: DecodeWork) -> DecodeResult:
        heard_before = 0 if work.first else self._chunks[work.stream]
        if work.kind is Kind.COMMIT:
            self._chunks[work.stream] = heard_before + 1
        new = len(work.pcm) - (0 if work.first else self.geometry.context)
        heard = TEXT[heard_before % len(TEXT)] if new else ""
        tokens = tuple(DecodedToken(piece, new, 1.0) for piece in heard)
        if work.hotwords is None:
            return DecodeResult(tokens)
        right = [piece == other for piece in heard for other in self.vocabulary]
        scores = SURE * np.array(right, dtype=np.float32).reshape(-1, len(self.vocabulary))
        return DecodeResult(tokens, evidence=work.hotwords.evidence(scores))


def _loudness(pcm: Pcm) -> NDArray[np.float32]:
    windows = pcm.reshape(-1, WINDOW)  # (windows, 512)
    rms = np.sqrt(np.mean(np.square(windows), axis=1))
    loud: NDArray[np.float32] = (rms >= LOUD).astype(np.float32)
    return loud
