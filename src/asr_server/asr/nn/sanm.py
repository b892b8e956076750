"""Define the SAN-M layers (self-attention with an FSMN) of Paraformer and CT-Transformer.

Gao et al., "SAN-M: Memory Equipped Self-Attention for End-to-End Speech Recognition" (2020), with
FunASR's parameter names.

Letters of shapes: B rows, H heads, T frames, M cached frames, S = M + T keys, D model size,
E = D / H. Keys and values lie as (2, B, H, frames, E), which batched products read without a copy.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_server.asr.nn.ops import cast

LAYER_NORM_EPS = 1e-12
"""FunASR's `LayerNorm`."""
MASKED = -1e4
"""The attention mask where a key is hidden: its weight becomes zero in any precision."""


def positions(index: Tensor, depth: int) -> Tensor:
    """Return sinusoids (..., depth) of positions counted from 1.

    As FunASR's `SinusoidalPositionEncoder`.
    """
    step = math.log(10_000.0) / (depth / 2 - 1)
    rates = torch.exp(torch.arange(depth // 2, dtype=torch.float32, device=index.device) * -step)
    angles = index.float()[..., None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def split_heads(x: Tensor, parts: int, heads: int) -> Tensor:
    """Return a view of `x` (B, T, parts * D) as (parts, B, H, T, E)."""
    return x.view(*x.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4)


def contiguous(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a contiguous copy of `x` in `dtype`."""
    return torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format).copy_(x)


def gather_kv(kv_cache: Tensor, slots: Tensor, frames: int, dtype: torch.dtype) -> Tensor:
    """Return the keys and values (2, B, H, M + frames, E) of attention, the last ones unwritten.

    The first M are those of `slots` (B,) in `kv_cache` (slots, 2, H, M, E); `append_kv` writes the
    chunk's own behind them. Attention reads both in one piece, and each is written there once.
    """
    # As numbers these are constants of a trace, and not operators on sizes.
    parts, heads, cached, width = map(int, kv_cache.shape[1:])
    key_values = kv_cache.new_empty(
        (parts, slots.shape[0], heads, cached + int(frames), width), dtype=dtype
    )
    place = key_values.narrow(3, 0, cached).transpose(0, 1)  # (B, 2, H, M, E)
    if kv_cache.dtype == dtype:
        torch.index_select(kv_cache, 0, slots, out=place)
    else:
        place.copy_(kv_cache.index_select(0, slots))
    return key_values


def append_kv(key_values: Tensor, new: Tensor) -> Tensor:
    """Write `new` (2, B, H, T, E) into the last places of `key_values`; return a view of these."""
    frames = int(new.shape[3])
    return key_values.narrow(3, -frames, frames).copy_(new)


def attention_mask(key_mask: Tensor) -> Tensor:
    """Return 0 where `key_mask` (B, 1, 1 or T, S) shows a key, and `MASKED` elsewhere."""
    return torch.zeros(key_mask.shape, device=key_mask.device).masked_fill_(~key_mask, MASKED)


def attend(query: Tensor, key_values: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the attention (B, T, D), in `dtype`, of `query` (B, H, T, E).

    `key_values` is (2, B, H, S, E), `mask` as of `attention_mask`.

    On a CPU two batched products are quicker than the fused kernel, whose blocks are larger than
    a chunk; the weights are computed in float32, of which its softmax is also the quickest.
    """
    keys, values = key_values
    if query.device.type != "cpu":
        return attend_fused(query, keys, values, mask, dtype)
    rows, heads, frames, width = *query.shape[:3], int(query.shape[3])
    scores = torch.bmm(query.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2))  # (BH, T, S)
    scores = torch.add(mask, scores.view(rows, heads, frames, -1), alpha=width**-0.5)
    weights = cast(scores.softmax(dim=3), values.dtype).flatten(0, 1)
    attended = torch.bmm(weights, values.flatten(0, 1))  # (BH, T, E)
    attended = attended.view(rows, heads, frames, width).transpose(1, 2)
    return contiguous(attended, dtype).flatten(2)


def attend_fused(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return the attention (B, T, D), in `dtype`, by PyTorch's fused kernel.

    Its memory does not grow with the product of queries and keys, and its inputs may be views.
    """
    mask = cast(mask, query.dtype)
    attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    return cast(attended.transpose(1, 2).flatten(2), dtype)


def filter_frames(x: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """Return `x` (B, T, D), contiguous, filtered over frames by `weight` (D, 1, kernel).

    The result is (B, T + 2 * padding - kernel + 1, D), with `padding` frames of zeros on each side.
    As a picture one pixel high, channels last, frames need no transposing: a third of the time of
    `conv1d` on a CPU.
    """
    picture = x.transpose(1, 2).unsqueeze(2)  # (B, D, 1, T)
    filtered = F.conv2d(picture, weight.unsqueeze(2), padding=(0, padding), groups=weight.shape[0])
    return filtered.squeeze(2).transpose(1, 2)


def filter_tokens(x: Tensor, weight: Tensor) -> Tensor:
    """Return what `filter_frames` returns, for any number of frames.

    On a CPU oneDNN compiles that convolution anew for every pair of rows and frames. Tap by tap, in
    float32, it takes longer, but nothing is compiled, and there are fewer tokens than frames.
    """
    if x.device.type != "cpu":
        return filter_frames(x, weight)
    taps = cast(weight.squeeze(1).t().contiguous(), torch.float32)  # (kernel, D)
    frames = x.shape[1] - taps.shape[0] + 1
    wide = cast(x, torch.float32)
    filtered = wide.narrow(1, 0, frames) * taps[0]
    for place in range(1, taps.shape[0]):
        filtered.addcmul_(wide.narrow(1, place, frames), taps[place])
    return cast(filtered, x.dtype)


class FsmnAttention(nn.Module):
    """Attend to the chunk and the KV cache, and filter the chunk's values over frames (FSMN).

    With `fixed_frames` every chunk has the same number of frames, and the filter looks as far ahead
    as back.
    """

    def __init__(
        self,
        inputs: int,
        size: int,
        heads: int,
        kernel: int,
        shift: int = 0,
        fixed_frames: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.size, self._fixed_frames = heads, size, fixed_frames
        self._before = (kernel - 1) // 2 + shift
        self._after = kernel - 1 - self._before
        assert not fixed_frames or self._before == self._after
        self.linear_q_k_v = nn.Linear(inputs, 3 * size)
        self.linear_out = nn.Linear(size, size)
        self.fsmn_block = nn.Conv1d(size, size, kernel, groups=size, bias=False)

    def forward(
        self,
        x: Tensor,
        key_values: Tensor | None,
        mask: Tensor,
        frame_mask: Tensor,
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the output (B, T, D) of `x` (B, T, inputs), and its own keys and values.

        `key_values` (2, B, H, M + T, E) as of `gather_kv`, None without a cache; `mask` as of
        `attend`; `frame_mask` (B, T, 1) is 1 where a frame exists. Keys and values are
        (2, B, H, T, E), in the dtype in which attention runs: that of `key_values`, or `dtype`.
        """
        projected = self.linear_q_k_v(x)  # (B, T, 3D)
        split = split_heads(projected, 3, self.heads)
        if key_values is None:
            split = cast(split, dtype or x.dtype)
            query, own = split[0], split[1:]
            attended = attend_fused(query, own[0], own[1], mask, x.dtype)
        else:
            own = append_kv(key_values, split[1:])
            query = contiguous(split[0], key_values.dtype)
            attended = attend(query, key_values, mask, x.dtype)
        attended = self.linear_out(attended)

        value = projected.narrow(2, 2 * self.size, self.size) * frame_mask
        weight = self.fsmn_block.weight
        if self._fixed_frames:
            filtered = filter_frames(value, weight, self._before)
        else:
            padded = F.pad(value, (0, 0, self._before, self._after))
            filtered = filter_tokens(padded, weight)
        return attended.add_(value).add_(filtered), own


class FeedForward(nn.Module):
    """Apply two linear layers with a ReLU between."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, units)
        self.w_2 = nn.Linear(units, size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.w_2(self.w_1(x).relu_())  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Apply attention with FSMN, then feed-forward, each behind a normalisation."""

    def __init__(
        self,
        inputs: int,
        size: int,
        heads: int,
        units: int,
        kernel: int,
        shift: int = 0,
        fixed_frames: bool = True,
    ) -> None:
        super().__init__()
        self.self_attn = FsmnAttention(inputs, size, heads, kernel, shift, fixed_frames)
        self.feed_forward = FeedForward(size, units)
        self.norm1 = nn.LayerNorm(inputs, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self._residual = inputs == size

    def forward(
        self,
        x: Tensor,
        key_values: Tensor | None,
        mask: Tensor,
        frame_mask: Tensor,
        dtype: torch.dtype | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return what `FsmnAttention.forward` returns, of the whole layer."""
        attended, own = self.self_attn(self.norm1(x), key_values, mask, frame_mask, dtype)
        x = attended.add_(x) if self._residual else attended
        return self.feed_forward(self.norm2(x)).add_(x), own
