"""SAN-M layers: self-attention with a memory block (FSMN), as Paraformer and CT-Transformer use.

Gao et al., "SAN-M: Memory Equipped Self-Attention for End-to-End Speech Recognition" (2020), with
FunASR's parameter names.

Letters of shapes: B rows, H heads, T frames, M frames of memory, S keys in sight, D model size,
E = D / H. Keys and values lie as (2, B, H, frames, E), which batched products read without a copy.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_server.asr.run.tracing import cast

LAYER_NORM_EPS = 1e-12
"""FunASR's `LayerNorm`."""
UNSEEN = -1e4
"""What a score loses whose key may not be seen: its weight becomes zero in any precision."""


def positions(index: Tensor, depth: int) -> Tensor:
    """Sinusoids (..., depth) of positions counted from 1 (FunASR's `SinusoidalPositionEncoder`)."""
    step = math.log(10_000.0) / (depth / 2 - 1)
    rates = torch.exp(torch.arange(depth // 2, dtype=torch.float32, device=index.device) * -step)
    angles = index.float()[..., None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def by_head(x: Tensor, parts: int, heads: int) -> Tensor:
    """A view of (B, T, parts * D) as (parts, B, H, T, E)."""
    return x.view(*x.shape[:2], parts, heads, -1).permute(2, 0, 3, 1, 4)


def laid_out(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A contiguous copy in `dtype`."""
    return torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format).copy_(x)


def recall(memories: Tensor, slots: Tensor, frames: int, dtype: torch.dtype) -> Tensor:
    """What `slots` (B,) of `memories` (slots, 2, H, M, E) hold, as (2, B, H, M + frames, E).

    What lies behind the memory is room for the keys and values of a chunk, for `append`:
    attention reads both in one piece, and here each is put there once.
    """
    # As numbers these are constants of a recording, and not operators on sizes.
    parts, heads, remembered, width = map(int, memories.shape[1:])
    seen = memories.new_empty(
        (parts, slots.shape[0], heads, remembered + int(frames), width), dtype=dtype
    )
    place = seen.narrow(3, 0, remembered).transpose(0, 1)  # (B, 2, H, M, E)
    if memories.dtype == dtype:
        torch.index_select(memories, 0, slots, out=place)
    else:
        place.copy_(memories.index_select(0, slots))
    return seen


def append(seen: Tensor, key_value: Tensor) -> Tensor:
    """Put `key_value` (2, B, H, T, E) into the room behind what was recalled; gives that part."""
    frames = int(key_value.shape[3])
    return seen.narrow(3, -frames, frames).copy_(key_value)


def penalties(visible: Tensor) -> Tensor:
    """What `attend` adds to the scores, where `visible` (B, 1, 1 or T, S) says who sees what."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, UNSEEN)


def attend(query: Tensor, key_value: Tensor, penalty: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention of `query` (B, H, T, E) to `key_value` (2, B, H, S, E): (B, T, D) in `dtype`.

    On a CPU two batched products are quicker than the fused kernel, whose blocks are larger than
    a chunk; the weights are computed in float32, of which its softmax is also the quickest.
    """
    keys, values = key_value
    if query.device.type != "cpu":
        mask = penalty.to(query.dtype)
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return cast(attended.transpose(1, 2).flatten(2), dtype)
    rows, heads, frames, width = *query.shape[:3], int(query.shape[3])
    scores = torch.bmm(query.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2))  # (BH, T, S)
    scores = torch.add(penalty, scores.view(rows, heads, frames, -1), alpha=width**-0.5)
    weights = cast(scores.softmax(dim=3), values.dtype).flatten(0, 1)
    attended = torch.bmm(weights, values.flatten(0, 1))  # (BH, T, E)
    attended = attended.view(rows, heads, frames, width).transpose(1, 2)
    return laid_out(attended, dtype).flatten(2)


def filter_frames(x: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """A depthwise filter `weight` (D, 1, kernel) over the frames of `x` (B, T, D), contiguous.

    Gives (B, T + 2 * padding - kernel + 1, D), as if so many frames of zeros came before and after.
    As a picture one pixel high, channels last, frames need no transposing: a third of what `conv1d`
    takes on a CPU.
    """
    picture = x.transpose(1, 2).unsqueeze(2)  # (B, D, 1, T)
    filtered = F.conv2d(picture, weight.unsqueeze(2), padding=(0, padding), groups=weight.shape[0])
    return filtered.squeeze(2).transpose(1, 2)


def filter_tokens(x: Tensor, weight: Tensor) -> Tensor:
    """As `filter_frames`, for any number of frames.

    On a CPU that convolution is compiled anew for every pair of rows and frames. Tap by tap, in
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
    """Self-attention over the chunk and the memory, plus a depthwise FSMN over the chunk.

    Chunks that are not `even` have any number of frames; the filter of those that are looks as far
    ahead as back.
    """

    def __init__(
        self, inputs: int, size: int, heads: int, kernel: int, shift: int = 0, even: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.size, self._even = heads, size, even
        self._before = (kernel - 1) // 2 + shift
        self._after = kernel - 1 - self._before
        assert not even or self._before == self._after
        self.linear_q_k_v = nn.Linear(inputs, 3 * size)
        self.linear_out = nn.Linear(size, size)
        self.fsmn_block = nn.Conv1d(size, size, kernel, groups=size, bias=False)

    def forward(
        self, x: Tensor, seen: Tensor | None, penalty: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` (B, T, inputs) to what is recalled, if anything is, and to itself.

        `seen` (2, B, H, M + T, E) is of `recall`, `penalty` (B, 1, 1 or T, M + T) that of `attend`,
        `real` (B, T, 1) says which frames exist. Gives the output (B, T, D) and the frames' own
        keys and values (2, B, H, T, E), in the precision of `seen`, in which attention runs.
        """
        projected = self.linear_q_k_v(x)  # (B, T, 3D)
        split = by_head(projected, 3, self.heads)
        if seen is None:
            seen = torch.empty_like(split[1:], memory_format=torch.contiguous_format)
        key_value = append(seen, split[1:])
        query = laid_out(split[0], seen.dtype)
        attended = self.linear_out(attend(query, seen, penalty, x.dtype))

        value = projected.narrow(2, 2 * self.size, self.size) * real
        weight = self.fsmn_block.weight
        if self._even:
            filtered = filter_frames(value, weight, self._before)
        else:
            padded = F.pad(value, (0, 0, self._before, self._after))
            filtered = filter_tokens(padded, weight)
        return attended.add_(value).add_(filtered), key_value


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, units)
        self.w_2 = nn.Linear(units, size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.w_2(self.w_1(x).relu_())  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Attention with FSMN, then feed-forward, each normalised before."""

    def __init__(
        self,
        inputs: int,
        size: int,
        heads: int,
        units: int,
        kernel: int,
        shift: int = 0,
        even: bool = True,
    ) -> None:
        super().__init__()
        self.self_attn = FsmnAttention(inputs, size, heads, kernel, shift, even)
        self.feed_forward = FeedForward(size, units)
        self.norm1 = nn.LayerNorm(inputs, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self._residual = inputs == size

    def forward(
        self, x: Tensor, seen: Tensor | None, penalty: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `FsmnAttention.forward`."""
        attended, key_value = self.self_attn(self.norm1(x), seen, penalty, real)
        x = attended.add_(x) if self._residual else attended
        return self.feed_forward(self.norm2(x)).add_(x), key_value
