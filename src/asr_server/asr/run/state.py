"""Keep what streams carry from chunk to chunk, a row ("slot") of each tensor for each stream.

Letters of shapes: B rows, C rows that commit, L layers, T frames of a chunk, D model size; keys
and values of a row (2, H, frames, E) as in `sanm`.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_server.asr.nn.cif import Fired
from asr_server.asr.nn.config import ParaformerConfig
from asr_server.asr.nn.frontend import FEATURES
from asr_server.asr.nn.ops import masked_zero


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """Hold what a batch computed for the next chunks of its streams."""

    slots: Tensor  # (B,) to write to; the dummy slot for a row that does not commit
    first: Tensor  # (B,)
    commit: Tensor  # (C,) the rows that commit
    chunk: Tensor  # (B, T, 560)
    encoder_kv: Tensor  # (B, L, 2, H, stride, E)
    fired: Fired
    decoded: Tensor  # (rows that fired and commit,) which rows these are
    decoder_fsmn: Tensor  # (rows that fired and commit, L, kernel - 1, D)
    decoder_kv: Tensor  # (rows that fired and commit, L, 2, H, stride, E)


class ParaformerState:
    """Hold the recogniser's state of every slot.

    Slots are written only by `apply`, when everything of a step has been computed. Before the first
    committed chunk of a sentence a slot's content has no meaning: `first` rows read it as empty.
    The machine's memory is taken when a slot is first written, not before; all layers of a slot lie
    together, so that this also holds for huge pages.

    With `static` shapes, the rows that commit or fire are all rows, and the others write to
    `DUMMY_SLOT`: see `indices`.
    """

    def __init__(
        self,
        config: ParaformerConfig,
        slots: int,
        cache_dtype: torch.dtype,
        device: torch.device,
        static: bool = False,
    ) -> None:
        self._config = config
        self.static = static
        """Whether shapes are independent of computed values."""

        def rows(*shape: int, dtype: torch.dtype = cache_dtype) -> Tensor:
            return _lazy_zeros((slots, *shape), dtype, device)

        def kv_cache(layers: int, frames: int) -> Tensor:
            return rows(layers, 2, config.heads, frames, config.size // config.heads)

        self.overlap = rows(config.look_ahead, FEATURES, dtype=torch.float32)
        self.chunks = rows(dtype=torch.int64)
        self.has_fired = rows(dtype=torch.bool)
        """Whether a chunk of the sentence has fired, so that the decoder has keys and values."""
        self.rest_weight = rows(dtype=torch.float32)
        self.rest_hidden = rows(config.size, dtype=torch.float32)
        self.encoder_kv_cache = kv_cache(config.encoder_layers, config.cache_frames)
        """A ring of keys and values: attention does not depend on their order."""
        self.decoder_kv_cache = kv_cache(config.decoder_layers, config.stride)
        self.decoder_fsmn_cache = rows(
            config.decoder_layers, config.decoder_kernel - 1, config.size
        )

    def indices(self, mask: Tensor) -> Tensor:
        """Return the indices at which `mask` (N,) holds, or all N with `static` shapes.

        A CPU computes only the former. To know their number a GPU would have to be waited for, and
        its graphs have no such shapes.
        """
        if self.static:
            return torch.arange(len(mask), device=mask.device)
        return mask.nonzero().squeeze(1)

    def apply(self, update: StateUpdate) -> None:
        """Advance the rows that commit past their chunk."""
        rows = update.commit
        if len(rows):
            self._apply_encoder(update)
            slots = update.slots[rows]
            self.rest_weight[slots] = update.fired.rest_weight[rows]
            self.rest_hidden[slots] = update.fired.rest_hidden[rows]
            self._apply_decoder(update)

    def _apply_encoder(self, update: StateUpdate) -> None:
        rows = update.commit
        config, slots, first = self._config, update.slots[rows], update.first[rows]
        chunks = masked_zero(self.chunks[slots], first)
        begin = (chunks % config.encoder_look_back) * config.stride
        self._write_ring(rows, slots, begin, update.encoder_kv)
        self.overlap[slots] = update.chunk[rows, -config.look_ahead :]
        self.chunks[slots] = chunks + 1
        # A sentence's first chunk also clears what an earlier sentence left behind.
        self.has_fired[slots] &= ~first
        self.decoder_fsmn_cache.index_fill_(0, (slots * first)[self.indices(first)], 0)

    def _write_ring(self, rows: Tensor, slots: Tensor, begin: Tensor, key_values: Tensor) -> None:
        """Write the `rows` of `key_values` into the rings of `slots`, from frames `begin` on."""
        stride = self._config.stride
        if self.static:
            ring = begin[:, None] + torch.arange(stride, device=begin.device)  # (B, stride)
            _by_frame(self.encoder_kv_cache)[slots[:, None], ring] = _by_frame(key_values)
            return
        # Row by row, where frames lie side by side, takes a third of that.
        for row, slot, frame in torch.stack((rows, slots, begin), dim=1).tolist():
            self.encoder_kv_cache[slot].narrow(3, frame, stride).copy_(key_values[row])

    def _apply_decoder(self, update: StateUpdate) -> None:
        """Write the decoder's caches of the rows that fired and commit."""
        if not len(update.decoded):
            return
        has_fired = update.fired.counts > 0
        slots = (update.slots * has_fired)[update.decoded]
        self.decoder_fsmn_cache.index_copy_(0, slots, update.decoder_fsmn)
        self.decoder_kv_cache.index_copy_(0, slots, update.decoder_kv)
        self.has_fired[slots] = True


def _by_frame(key_values: Tensor) -> Tensor:
    """Return a view of (B, L, 2, H, frames, E) as (B, frames, L, 2, H, E)."""
    return key_values.permute(0, 4, 1, 2, 3, 5)


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros whose pages a CPU only reserves, whereas `torch.zeros` writes them all."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(np.zeros(size, dtype=np.uint8)).view(dtype).view(shape)
