"""The VAD's memory of every stream, in slots."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr_server.asr.nn.vad import STATE, SileroVad
from asr_server.asr.run.tracing import scripted
from asr_server.audio.endpointer import WINDOW
from asr_server.audio.units import Pcm


class VadState:
    """Judges windows of many streams; always on the CPU, where such a small net belongs."""

    def __init__(self, slots: int) -> None:
        self._vad: nn.Module = SileroVad.load()
        self._state = torch.zeros(slots, STATE)

    def record(self) -> None:
        """Judge without the interpreter from now on."""
        self._vad = scripted(self._vad, [_tone(1, 1), _tone(2, 3)])

    def reset(self, slot: int) -> None:
        """Forget what the slot's last stream said."""
        self._state[slot] = 0

    def judge(self, slots: Sequence[int], pcm: Sequence[Pcm]) -> list[NDArray[np.float32]]:
        """Probabilities of whole windows, (windows,) per stream; the state moves on past them."""
        counts = [len(samples) // WINDOW for samples in pcm]
        windows = np.zeros((len(pcm), max(counts) * WINDOW), dtype=np.float32)
        for row, samples in zip(windows, pcm, strict=True):
            row[: len(samples)] = samples
        rows = torch.tensor(slots)
        probabilities, self._state[rows] = self._vad(
            torch.from_numpy(windows), torch.tensor(counts), self._state[rows]
        )
        judged = probabilities.numpy()
        return [row[:count] for row, count in zip(judged, counts, strict=True)]


def _tone(rows: int, windows: int) -> tuple[Tensor, ...]:
    """What the network is given of so many streams in which something sounds."""
    samples = torch.arange(rows * windows * WINDOW).sin().view(rows, -1)
    return samples, torch.full((rows,), windows), torch.zeros(rows, STATE)
