"""One chunk of every row of a batch, from its samples to its tokens, on one device.

What goes in travels in one piece, and so does what comes out: a transfer to or from a GPU takes as
long as many kernels, and the one that comes back is where a step waits for the device.

Letters of shapes: B rows, S samples, K tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from asr_server.asr.nn.frontend import CONTEXT, FRAME, LFR_SHIFT, Frontend
from asr_server.asr.nn.paraformer import ChunkBatch, Paraformer
from asr_server.asr.run.state import ParaformerState, Progress
from asr_server.asr.types import DecodeWork, Kind
from asr_server.audio.units import Samples

HEAD = 6
"""What stands before a row's samples: slot, samples, first, whole, tail, commit; see `ChunkBatch`.

As float32, which is exact up to 2^24. Zeros are a row of the spare slot that changes nothing.
"""

FRAME_CENTRE = 200
"""Samples from a frame's first sample to its middle: half an fbank window."""


def pack(
    works: Sequence[DecodeWork],
    slots: Sequence[int],
    rows: int,
    samples: Samples,
    pinned: bool = False,
) -> Tensor:
    """A batch (rows, HEAD + samples) float32 for `Hearing`; rows past the works do nothing.

    `pinned` memory travels to a GPU without the host waiting for it.
    """
    batch = torch.zeros(rows, HEAD + samples, pin_memory=pinned)
    for row, work, slot in zip(batch.numpy(), works, slots, strict=False):
        commit = work.kind is Kind.COMMIT
        row[:HEAD] = slot, len(work.pcm), work.first, not commit, work.kind.final, commit
        row[HEAD : HEAD + len(work.pcm)] = work.pcm
    return batch


class Row(NamedTuple):
    """The tokens of a row."""

    tokens: list[int]
    confidences: list[float]
    fired_at: list[float]
    """In samples from the chunk's first new one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a batch gave, still on the device."""

    said: Tensor  # (B, 1 + 3 K) float32: how many tokens; which, how certain and where
    scores: Tensor  # see `Decoded.scores`
    progress: Progress

    def rows(self) -> list[Row]:
        """What the rows said; waits for the device."""
        room = self.said.shape[1] // 3
        rows = []
        for count, *numbers in self.said.tolist():
            tokens, *rest = (numbers[n * room :][: int(count)] for n in range(3))
            rows.append(Row([int(token) for token in tokens], *rest))
        return rows

    def scores_by_row(self, rows: Sequence[Row]) -> list[Tensor]:
        """The scores (count, vocabulary) of each row's tokens."""
        counts = [len(row.tokens) for row in rows]
        room = self.said.shape[1] // 3
        if len(self.scores) == len(rows) * room:
            places = self.scores.view(len(rows), room, *self.scores.shape[1:])
            return [own[:count] for own, count in zip(places, counts, strict=True)]
        return list(torch.split(self.scores, counts))


class Hearing:
    """Features, network and state, as one function of a batch."""

    def __init__(self, frontend: Frontend, paraformer: Paraformer, state: ParaformerState) -> None:
        self._frontend = frontend
        self._paraformer = paraformer
        self._state = state
        self.longest: Samples = max(FRAME, CONTEXT + paraformer.config.stride * LFR_SHIFT)
        """Samples of the longest chunk."""

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Answer:
        """Hear a batch of `pack`, which is on the device; the state stays as it is."""
        head, samples = batch[:, :HEAD], batch[:, HEAD:]
        slots, counts = head[:, :2].long().unbind(1)
        first, whole, tail, commit = head[:, 2:].bool().unbind(1)
        stride = self._paraformer.config.stride
        features = self._frontend(samples, counts, first, stride)
        decoded = self._paraformer(
            ChunkBatch(slots, first, features.frames, features.lengths, whole, tail, commit),
            self._state,
        )
        fired_at = decoded.fired_at * LFR_SHIFT + FRAME_CENTRE - LFR_SHIFT / 2
        said = (decoded.counts[:, None], decoded.tokens, decoded.confidences, fired_at)
        return Answer(
            torch.cat([part.float() for part in said], dim=1), decoded.scores, decoded.progress
        )
