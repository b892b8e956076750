"""Provide a backend without a model: each chunk of a sentence yields the next character of a text.

The backend keeps state per slot as strictly as the real one, so that everything around the model
is tested without weights.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.types import (
    ChunkGeometry,
    DecodedToken,
    DecodeResult,
    DecodeWork,
    Kind,
    SecondPassResult,
    SecondPassToken,
    SecondPassWork,
    Slot,
    VadWork,
)
from asr_server.audio.endpointer import WINDOW
from asr_server.audio.units import Pcm
from tests.support.hotword_evidence import reference_evidence

SCORE_MARGIN = 9.0
"""Nats between the decoded character and all others."""

SPEECH_RMS = 0.01
"""Root mean square from which a window counts as speech."""

TEXT = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"

SECOND_TEXT = "甲乙丙丁戊己庚辛壬癸"
"""What the offline model makes of the same chunks."""

SOUNDALIKES = "悬皇"
"""Characters that hotwords can put in place of 玄黄."""


class FakeBackend:
    """Take loud windows for speech; the n-th chunk of a sentence decodes to the n-th of `TEXT`."""

    name = "fake"
    device = "cpu"
    dtype = "none"
    gpu: str | None = None
    workers = 1
    slots = 1024
    geometry = ChunkGeometry(stride=9_600, context=480)
    vocabulary = tuple(TEXT + SOUNDALIKES)
    second_pass = False
    second_pass_hotwords = True

    def __init__(self) -> None:
        self._committed: dict[Slot, int] = {}
        """Chunks committed of each slot's sentence."""

    def detect(self, works: Sequence[VadWork]) -> list[NDArray[np.float32]]:
        """Return 1 for each loud window and 0 for each other."""
        return [_loud(work.pcm) for work in works]

    def decode(self, works: Sequence[DecodeWork]) -> list[DecodeResult]:
        """Return one character for each chunk."""
        return [self._decode(work) for work in works]

    def correct(self, works: Sequence[SecondPassWork]) -> list[SecondPassResult]:
        """Return one character of `SECOND_TEXT` for each chunk of a sentence."""
        assert self.second_pass
        return [self._correct(work) for work in works]

    def warm_up(self) -> None:
        """Do nothing: there is nothing to compile."""

    def _correct(self, work: SecondPassWork) -> SecondPassResult:
        stride, audio = self.geometry.stride, len(work.pcm)
        tokens = tuple(
            SecondPassToken(SECOND_TEXT[n % len(SECOND_TEXT)], begin, min(begin + stride, audio), 1)
            for n, begin in enumerate(range(0, audio, stride))
        )
        return SecondPassResult(tokens)

    def _decode(self, work: DecodeWork) -> DecodeResult:
        committed = 0 if work.first else self._committed[work.slot]
        if work.kind is Kind.COMMIT:
            self._committed[work.slot] = committed + 1
        new = len(work.pcm) - (0 if work.first else self.geometry.context)
        text = TEXT[committed % len(TEXT)] if new else ""
        tokens = tuple(DecodedToken(piece, new, 1.0) for piece in text)
        if work.hotwords is None:
            return DecodeResult(tokens)
        matches = [piece == other for piece in text for other in self.vocabulary]
        scores = SCORE_MARGIN * np.array(matches, np.float32).reshape(-1, len(self.vocabulary))
        return DecodeResult(tokens, evidence=reference_evidence(work.hotwords, scores))


def _loud(pcm: Pcm) -> NDArray[np.float32]:
    windows = pcm.reshape(-1, WINDOW)  # (windows, 512)
    rms = np.sqrt(np.mean(np.square(windows), axis=1))
    loud: NDArray[np.float32] = (rms >= SPEECH_RMS).astype(np.float32)
    return loud
