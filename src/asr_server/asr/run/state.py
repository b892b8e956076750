"""What streams carry from chunk to chunk, in slots, and how a batch moves it on.

Letters of shapes: B rows, L layers, T frames of a chunk, K tokens, D model size; keys and values
of a row (2, H, frames, E) as in `sanm`.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_server.asr.loading.config import ParaformerConfig
from asr_server.asr.nn.cif import Fired
from asr_server.asr.nn.frontend import FEATURES


@dataclass(frozen=True, slots=True)
class Progress:
    """What a batch computed that the next chunks of its streams need."""

    slots: Tensor  # (B,) where to; the spare one for a row that does not commit
    first: Tensor  # (B,)
    commit: Tensor  # (rows that commit,) which rows these are
    chunk: Tensor  # (B, T, 560)
    key_values: Tensor  # of the encoder (B, L, 2, H, stride, E)
    fired: Fired
    decoded: Tensor  # (rows that fired and commit,) which rows these are
    histories: Tensor  # of the decoder (rows that fired and commit, L, kernel - 1, D)
    memories: Tensor  # of the decoder (rows that fired and commit, L, 2, H, stride, E)


class ParaformerState:
    """What every stream carries from chunk to chunk, one row of each tensor per slot.

    Rows are written only by `advance`, when everything of a step has been computed. A row's content
    before the first committed chunk of a sentence means nothing: `first` rows read it as empty.
    Memory of the machine is taken when a row is first written, not before; all layers of a row lie
    together, so that this is true of huge pages, too.

    With `static` shapes, the "rows that" do something are all rows, and those that do not are
    written to the spare slot: see `which`.
    """

    def __init__(
        self,
        config: ParaformerConfig,
        slots: int,
        memory_dtype: torch.dtype,
        device: torch.device,
        static: bool = False,
    ) -> None:
        self._config = config
        self.static = static
        """Whether shapes depend on nothing that is computed."""

        def rows(*shape: int, dtype: torch.dtype = memory_dtype) -> Tensor:
            return _lazy_zeros((slots, *shape), dtype, device)

        def memory(layers: int, frames: int) -> Tensor:
            return rows(layers, 2, config.heads, frames, config.size // config.heads)

        self.overlap = rows(config.look_ahead, FEATURES, dtype=torch.float32)
        self.chunks = rows(dtype=torch.int64)
        self.fired = rows(dtype=torch.bool)
        """Whether a chunk of the sentence has fired, so that the decoder has a memory."""
        self.rest_weight = rows(dtype=torch.float32)
        self.rest_hidden = rows(config.size, dtype=torch.float32)
        self.encoder_memory = memory(config.encoder_layers, config.memory)
        """A ring of keys and values: attention does not care in which order it sees them."""
        self.decoder_memory = memory(config.decoder_layers, config.stride)
        self.history = rows(config.decoder_layers, config.decoder_kernel - 1, config.size)

    def which(self, places: Tensor) -> Tensor:
        """Indices of the `places` (N,), of type bool, to go on with.

        Those that hold: all that a CPU need compute. But to know how many they are a GPU must be
        waited for, and its graphs know no such shapes: with `static` ones it is all of them.
        """
        if self.static:
            return torch.arange(len(places), device=places.device)
        return places.nonzero().squeeze(1)

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
        self._remember(rows, slots, begin, progress.key_values)
        self.overlap[slots] = progress.chunk[rows, -config.look_ahead :]
        self.chunks[slots] = chunks + 1
        # A sentence's first chunk also ends what an earlier sentence left behind.
        self.fired[slots] &= ~first
        self.history.index_fill_(0, (slots * first)[self.which(first)], 0)

    def _remember(self, rows: Tensor, slots: Tensor, begin: Tensor, key_values: Tensor) -> None:
        """Write the `rows` of `key_values` into the rings of `slots`, from frames `begin` on."""
        stride = self._config.stride
        if self.static:
            ring = begin[:, None] + torch.arange(stride, device=begin.device)  # (B, stride)
            _by_frame(self.encoder_memory)[slots[:, None], ring] = _by_frame(key_values)
            return
        # Row by row, where frames lie side by side, takes a third of that.
        for row, slot, frame in torch.stack((rows, slots, begin), dim=1).tolist():
            self.encoder_memory[slot].narrow(3, frame, stride).copy_(key_values[row])

    def _advance_decoder(self, progress: Progress) -> None:
        """Remember the decoder's inputs of the rows that fired and commit."""
        if not len(progress.decoded):
            return
        spoke = progress.fired.counts > 0
        slots = (progress.slots * spoke)[progress.decoded]
        self.history.index_copy_(0, slots, progress.histories)
        self.decoder_memory.index_copy_(0, slots, progress.memories)
        self.fired[slots] = True


def unless(condition: Tensor, rows: Tensor) -> Tensor:
    """The rows, zero where `condition` (B,) holds."""
    shape = (-1, *[1] * (rows.dim() - 1))
    return torch.where(condition.view(shape), rows.new_zeros(()), rows)


def _by_frame(key_value: Tensor) -> Tensor:
    """A view of (B, L, 2, H, frames, E) as (B, frames, L, 2, H, E)."""
    return key_value.permute(0, 4, 1, 2, 3, 5)


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU their pages are only reserved, whereas `torch.zeros` writes them all."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(size, dtype=np.uint8)).view(dtype).view(shape)
