"""SAN-M layers: self-attention with a memory block (FSMN), as Paraformer and CT-Transformer use.

Gao et al., "SAN-M: Memory Equipped Self-Attention for End-to-End Speech Recognition" (2020), with
FunASR's parameter names.

Letters of shapes: B rows, T frames, M frames of memory, D model size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-12
"""FunASR's `LayerNorm`."""


def positions(index: Tensor, depth: int) -> Tensor:
    """Sinusoids (..., depth) of positions counted from 1 (FunASR's `SinusoidalPositionEncoder`)."""
    step = math.log(10_000.0) / (depth / 2 - 1)
    rates = torch.exp(torch.arange(depth // 2, dtype=torch.float32, device=index.device) * -step)
    angles = index.float()[..., None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, D) to (B, heads, T, D / heads)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


class FsmnAttention(nn.Module):
    """Self-attention over the chunk and the memory, plus a depthwise FSMN over the chunk."""

    def __init__(self, inputs: int, size: int, heads: int, kernel: int, shift: int = 0) -> None:
        super().__init__()
        self.heads = heads
        left = (kernel - 1) // 2 + shift
        self._padding = (left, kernel - 1 - left)
        self.linear_q_k_v = nn.Linear(inputs, 3 * size)
        self.linear_out = nn.Linear(size, size)
        self.fsmn_block = nn.Conv1d(size, size, kernel, groups=size, bias=False)

    def forward(
        self, x: Tensor, memory: Tensor | None, mask: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` (B, T, inputs) to `memory` (B, M, 2D), if there is any, and itself.

        `mask` (B, 1, 1 or T, M + T) says who sees which key, `real` (B, T, 1) which frames exist.
        Gives the output (B, T, D) and the frames' own keys and values (B, T, 2D).
        """
        query, key_value = self.linear_q_k_v(x).tensor_split([self.linear_out.in_features], dim=2)
        value = key_value[:, :, query.shape[2] :] * real
        seen = key_value if memory is None else torch.cat((memory, key_value), dim=1)
        keys, values = seen.chunk(2, dim=2)
        attended = F.scaled_dot_product_attention(
            split_heads(query, self.heads),
            split_heads(keys, self.heads),
            split_heads(values, self.heads),
            attn_mask=mask,
        )
        attended = attended.transpose(1, 2).flatten(2)
        return self.linear_out(attended) + self._fsmn(value), key_value

    def _fsmn(self, value: Tensor) -> Tensor:
        """The values through a depthwise filter over time, zeros at both edges."""
        padded = F.pad(value.transpose(1, 2), self._padding)
        filtered = F.conv1d(padded, self.fsmn_block.weight, groups=value.shape[2])
        return filtered.transpose(1, 2) + value


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, units)
        self.w_2 = nn.Linear(units, size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.w_2(self.w_1(x).relu())  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Attention with FSMN, then feed-forward, each normalised before."""

    def __init__(
        self, inputs: int, size: int, heads: int, units: int, kernel: int, shift: int = 0
    ) -> None:
        super().__init__()
        self.self_attn = FsmnAttention(inputs, size, heads, kernel, shift)
        self.feed_forward = FeedForward(size, units)
        self.norm1 = nn.LayerNorm(inputs, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self._residual = inputs == size

    def forward(
        self, x: Tensor, memory: Tensor | None, mask: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `FsmnAttention.forward`."""
        attended, key_value = self.self_attn(self.norm1(x), memory, mask, real)
        x = x + attended if self._residual else attended
        return x + self.feed_forward(self.norm2(x)), key_value
