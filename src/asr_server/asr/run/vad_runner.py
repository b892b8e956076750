"""Run the VAD on windows of many streams, whose state lies in slots."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr_server.asr.loading.networks import load_vad
from asr_server.asr.nn.ops import masked_zero
from asr_server.asr.nn.vad import STATE
from asr_server.asr.run.tracing import scripted
from asr_server.asr.types import VadWork
from asr_server.audio.endpointer import WINDOW


class VadRunner:
    """Compute speech probabilities; always on the CPU, the quickest place for so small a net."""

    def __init__(self, slots: int) -> None:
        self.vad: nn.Module = load_vad()
        self._state = torch.zeros(slots, STATE)

    def compile(self) -> None:
        """Run the network without Python's interpreter from now on."""
        self.vad = scripted(self.vad, [_example(1, 1), _example(2, 3)])

    def detect(self, works: Sequence[VadWork]) -> list[NDArray[np.float32]]:
        """Return the probabilities (windows,) of each work; its slot's state moves past them."""
        counts = [len(work.pcm) // WINDOW for work in works]
        windows = np.zeros((len(works), max(counts) * WINDOW), dtype=np.float32)
        for row, work in zip(windows, works, strict=True):
            row[: len(work.pcm)] = work.pcm
        slots = torch.tensor([work.slot for work in works])
        first = torch.tensor([work.first for work in works])
        state = masked_zero(self._state[slots], first)
        probabilities, state = self.vad(torch.from_numpy(windows), torch.tensor(counts), state)
        rows = [row[:count] for row, count in zip(probabilities.numpy(), counts, strict=True)]
        self._state[slots] = state  # last: nothing can fail any more
        return rows


def _example(rows: int, windows: int) -> tuple[Tensor, ...]:
    """Return the network's inputs for tones in so many rows and windows."""
    samples = torch.arange(rows * windows * WINDOW).sin().view(rows, -1)
    return samples, torch.full((rows,), windows), torch.zeros(rows, STATE)
