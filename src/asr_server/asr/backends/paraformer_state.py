"""What streams carry from chunk to chunk, in slots, and how a batch moves it on.

Letters of shapes: B rows, T frames of a chunk, K tokens, D model size; keys and values as in
`sanm`.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_server.asr.backends.cif import Fired
from asr_server.asr.backends.frontend import FEATURES
from asr_server.asr.backends.paraformer_config import ParaformerConfig


@dataclass(frozen=True, slots=True)
class Progress:
    """What a batch computed that the next chunks of its streams need."""

    slots: Tensor  # (B,)
    first: Tensor  # (B,)
    commit: Tensor  # (rows that commit,) which rows these are
    chunk: Tensor  # (B, T, 560)
    key_values: list[Tensor]  # per encoder layer (2, rows that commit, H, stride, E)
    fired: Fired
    decoded: Tensor  # (rows that fired and commit,) which rows these are
    histories: list[Tensor]  # per decoder layer (rows that fired and commit, kernel - 1, D)
    memories: list[Tensor]  # per decoder layer (2, rows that fired and commit, H, stride, E)


class ParaformerState:
    """What every stream carries from chunk to chunk, one row of each tensor per slot.

    Rows are written only by `advance`, when everything of a step has been computed. A row's content
    before the first committed chunk of a sentence means nothing: `first` rows read it as empty.
    Memory of the machine is taken when a row is first written, not before.
    """

    def __init__(
        self,
        config: ParaformerConfig,
        slots: int,
        memory_dtype: torch.dtype,
        attention_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._config = config
        self.attention_dtype = attention_dtype
        """In which precision attention reads the keys and values."""

        def rows(*shape: int, dtype: torch.dtype = memory_dtype) -> Tensor:
            return _lazy_zeros((slots, *shape), dtype, device)

        def memory(frames: int) -> Tensor:
            shape = (2, slots, config.heads, frames, config.size // config.heads)
            return _lazy_zeros(shape, memory_dtype, device)

        self.overlap = rows(config.look_ahead, FEATURES, dtype=torch.float32)
        self.chunks = rows(dtype=torch.int64)
        self.fired = rows(dtype=torch.bool)
        """Whether a chunk of the sentence has fired, so that the decoder has a memory."""
        self.rest_weight = rows(dtype=torch.float32)
        self.rest_hidden = rows(config.size, dtype=torch.float32)
        self.encoder_memory = [memory(config.memory) for _ in range(config.encoder_layers)]
        """A ring of keys and values: attention does not care in which order it sees them."""
        self.decoder_memory = [memory(config.stride) for _ in range(config.decoder_layers)]
        history = (config.decoder_kernel - 1, config.size)
        self.history = [rows(*history) for _ in range(config.decoder_layers)]

    def advance(self, progress: Progress) -> None:
        """Move the rows that commit past their chunk."""
        rows = progress.commit
        if len(rows):
            self._advance_encoder(progress)
            slots = progress.slots[rows]
            self.rest_weight[slots] = progress.fired.rest_weight[rows]
            self.rest_hidden[slots] = progress.fired.rest_hidden[rows]
            self._advance_decoder(progress)

    def _advance_encoder(self, progress: Progress) -> None:
        rows = progress.commit
        config, slots, first = self._config, progress.slots[rows], progress.first[rows]
        chunks = unless(first, self.chunks[slots])
        begin = (chunks % config.encoder_look_back) * config.stride
        ring = begin[:, None] + torch.arange(config.stride, device=begin.device)  # (B, stride)
        for memory, key_value in zip(self.encoder_memory, progress.key_values, strict=True):
            _by_frame(memory)[slots[:, None], ring] = _by_frame(key_value)
        self.overlap[slots] = progress.chunk[rows, -config.look_ahead :]
        self.chunks[slots] = chunks + 1
        # A sentence's first chunk also ends what an earlier sentence left behind.
        self.fired[slots] &= ~first
        opened = slots[first]
        for history in self.history:
            history.index_fill_(0, opened, 0)

    def _advance_decoder(self, progress: Progress) -> None:
        """Remember the decoder's inputs of the rows that fired and commit."""
        if not len(progress.decoded):
            return
        slots = progress.slots[progress.decoded]
        for history, kept in zip(self.history, progress.histories, strict=True):
            history[slots] = kept
        for memory, key_value in zip(self.decoder_memory, progress.memories, strict=True):
            memory.index_copy_(1, slots, key_value)
        self.fired[slots] = True


def unless(condition: Tensor, rows: Tensor) -> Tensor:
    """The rows, zero where `condition` (B,) holds."""
    shape = (-1, *[1] * (rows.dim() - 1))
    return torch.where(condition.view(shape), torch.zeros_like(rows), rows)


def _by_frame(key_value: Tensor) -> Tensor:
    """A view of (2, B, H, frames, E) as (B, frames, 2, H, E)."""
    return key_value.permute(1, 3, 0, 2, 4)


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU their pages are only reserved, whereas `torch.zeros` writes them all."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(size, dtype=np.uint8)).view(dtype).view(shape)
