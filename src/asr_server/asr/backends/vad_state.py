"""The VAD's memory of every stream, in slots."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from asr_server.asr.backends.vad import CONTEXT, HIDDEN, SileroVad
from asr_server.asr.types import Pcm
from asr_server.audio.endpoint import WINDOW


class VadState:
    """Judges windows of many streams; always on the CPU, where such a small net belongs."""

    def __init__(self, slots: int) -> None:
        self._vad = SileroVad.load()
        self._context = torch.zeros(slots, CONTEXT)
        self._hidden = torch.zeros(slots, HIDDEN)
        self._cell = torch.zeros(slots, HIDDEN)

    def reset(self, slot: int) -> None:
        """Forget what the slot's last stream said."""
        for state in (self._context, self._hidden, self._cell):
            state[slot] = 0

    def judge(self, slots: Sequence[int], pcm: Sequence[Pcm]) -> list[NDArray[np.float32]]:
        """Probabilities of whole windows, (windows,) per stream; the state moves on past them."""
        rows = torch.tensor(slots)
        counts = torch.tensor([len(samples) // WINDOW for samples in pcm])
        windows = np.zeros((len(pcm), int(counts.max()) * WINDOW), dtype=np.float32)
        for row, samples in zip(windows, pcm, strict=True):
            row[: len(samples)] = samples
        heard = torch.cat((self._context[rows], torch.from_numpy(windows)), dim=1)
        probabilities, hidden, cell = self._vad(heard, counts, self._hidden[rows], self._cell[rows])
        last = counts[:, None] * WINDOW + torch.arange(CONTEXT)[None, :]  # (B, 64)
        self._context[rows] = heard.gather(1, last)
        self._hidden[rows], self._cell[rows] = hidden, cell
        judged = probabilities.numpy()
        return [row[:count] for row, count in zip(judged, counts.tolist(), strict=True)]
