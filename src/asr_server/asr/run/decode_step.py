"""Compute one chunk of every row of a batch, from samples to tokens, on one device.

The inputs travel in one piece, and so do the outputs: a transfer to or from a GPU takes as long as
many kernels, and at the one that comes back a step waits for the device.

Letters of shapes: B rows, S samples, K tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from asr_server.asr.nn.frontend import CONTEXT, FRAME, LFR_SHIFT, Frontend
from asr_server.asr.nn.paraformer import Paraformer
from asr_server.asr.run.paraformer_runner import ChunkBatch, ParaformerRunner
from asr_server.asr.run.state import ParaformerState, StateUpdate
from asr_server.asr.types import DecodeWork, Kind
from asr_server.audio.units import Samples

HEADER = 6
"""Numbers before a row's samples: slot, samples, first, whole, tail, commit; see `ChunkBatch`.

As float32, which is exact up to 2^24. Zeros are a row of the dummy slot that changes nothing.
"""

FRAME_CENTRE = 200
"""Samples from a frame's first sample to its middle: half an fbank window."""


def pack(works: Sequence[DecodeWork], rows: int, samples: Samples, pinned: bool = False) -> Tensor:
    """Return a batch (rows, HEADER + samples) float32 for `DecodeStep`, padded with dummy rows.

    `pinned` memory travels to a GPU without the host waiting for it.
    """
    batch = torch.zeros(rows, HEADER + samples, pin_memory=pinned)
    for row, work in zip(batch.numpy(), works, strict=False):
        commit = work.kind is Kind.COMMIT
        row[:HEADER] = work.slot, len(work.pcm), work.first, not commit, work.kind.final, commit
        row[HEADER : HEADER + len(work.pcm)] = work.pcm
    return batch


class RowTokens(NamedTuple):
    """Hold the tokens of a row."""

    tokens: list[int]
    confidences: list[float]
    fired_at: list[float]
    """In samples from the chunk's first new one."""


@dataclass(frozen=True, slots=True)
class PackedOutputs:
    """Hold the outputs of a batch, still on the device."""

    packed: Tensor  # (B, 1 + 3 K) float32: number of tokens; tokens, confidences and places
    scores: Tensor  # see `Decoded.scores`
    update: StateUpdate

    def unpack(self) -> list[RowTokens]:
        """Return the tokens of each row; waits for the device."""
        most = self.packed.shape[1] // 3
        rows = []
        for count, *numbers in self.packed.tolist():
            tokens, *rest = (numbers[n * most :][: int(count)] for n in range(3))
            rows.append(RowTokens([int(token) for token in tokens], *rest))
        return rows

    def scores_by_row(self, rows: Sequence[RowTokens]) -> list[Tensor]:
        """Return the scores (count, vocabulary) of each row's tokens."""
        counts = [len(row.tokens) for row in rows]
        most = self.packed.shape[1] // 3
        if len(self.scores) == len(rows) * most:
            padded = self.scores.view(len(rows), most, *self.scores.shape[1:])
            return [own[:count] for own, count in zip(padded, counts, strict=True)]
        return list(torch.split(self.scores, counts))


class DecodeStep:
    """Compute features and network as one function of a packed batch."""

    def __init__(self, frontend: Frontend, paraformer: Paraformer, state: ParaformerState) -> None:
        self._frontend = frontend
        self._stride = paraformer.config.stride
        self.runner = ParaformerRunner(paraformer, state)
        self.max_samples: Samples = max(FRAME, CONTEXT + self._stride * LFR_SHIFT)
        """Samples of the longest chunk."""

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> PackedOutputs:
        """Decode a batch of `pack`, which is on the device; the state stays as it is."""
        header, samples = batch[:, :HEADER], batch[:, HEADER:]
        slots, counts = header[:, :2].long().unbind(1)
        first, whole, tail, commit = header[:, 2:].bool().unbind(1)
        features = self._frontend(samples, counts, first, self._stride)
        decoded = self.runner(
            ChunkBatch(slots, first, features.frames, features.lengths, whole, tail, commit)
        )
        fired_at = decoded.fired_at * LFR_SHIFT + FRAME_CENTRE - LFR_SHIFT / 2
        parts = (decoded.counts[:, None], decoded.tokens, decoded.confidences, fired_at)
        packed = torch.cat([part.float() for part in parts], dim=1)
        return PackedOutputs(packed, decoded.scores, decoded.update)
