"""Define the streaming Paraformer: encoder, predictor and decoder of one chunk of many streams.

The network is FunASR's `ParaformerStreaming` (Gao et al., "Paraformer", 2022; Zhang et al.,
"SCAMA", 2020) with the same parameter names, so that its checkpoints load unchanged. The forward
passes are ours: the rows of a batch are different streams, at different places of different
sentences, whose caches are rows ("slots") of tensors. `run.paraformer_runner` composes the parts.

A chunk is the `look_ahead` frames kept from the last chunk followed by up to `stride` new ones.
Frames past a row's length are masked everywhere, so a row never depends on its neighbours.

Letters of shapes: B rows, C rows that commit, T frames of a chunk (look_ahead + stride), M frames
of the encoder's cache, K tokens of a row, N of all rows, L layers, D model size; keys and values
as in `sanm`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_server.asr.nn.config import NetworkSizes, ParaformerConfig
from asr_server.asr.nn.frontend import FEATURES
from asr_server.asr.nn.layer_loop import LayerLoop, run_layers
from asr_server.asr.nn.ops import cast, masked_zero, pad, unpad
from asr_server.asr.nn.sanm import (
    LAYER_NORM_EPS,
    EncoderLayer,
    append_kv,
    attend,
    contiguous,
    filter_tokens,
    gather_kv,
    positions,
    split_heads,
)


class EncoderContext(NamedTuple):
    """Hold what the encoder's layers share."""

    slots: Tensor  # (B,) int64
    attention_mask: Tensor  # (B, 1, 1, M + T)
    frame_mask: Tensor  # (B, T, 1) 1 where a frame exists


class CachedEncoderLayer(EncoderLayer):
    """Run a SAN-M layer on a chunk behind cached keys and values."""

    def __init__(self, config: ParaformerConfig, inputs: int) -> None:
        super().__init__(
            inputs, config.size, config.heads, config.encoder_units, config.encoder_kernel
        )
        self._stride = config.stride
        self.attention_dtype = torch.float32

    def forward(  # type: ignore[override]
        self, x: Tensor, kv_cache: Tensor, slots: Tensor, mask: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the output (B, T, D) of `x` (B, T, inputs) and the chunk's part of the cache.

        `kv_cache` is (slots, 2, H, M, E), its new part (B, 2, H, stride, E).
        """
        key_values = gather_kv(kv_cache, slots, x.shape[1], self.attention_dtype)
        x, own = super().forward(x, key_values, mask, frame_mask)
        return x, own.narrow(3, 0, self._stride).transpose(0, 1)


class Encoder(nn.Module):
    """Map features to hidden frames, by layers that `layer` returns for their number of inputs."""

    def __init__(self, layer: Callable[[int], nn.Module], layers: int, size: int) -> None:
        super().__init__()
        self.encoders0 = nn.ModuleList([layer(FEATURES)])
        self.encoders = nn.ModuleList(layer(size) for _ in range(layers - 1))
        self.after_norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.layer_loop: LayerLoop = partial(run_layers, self.layers)

    @property
    def layers(self) -> list[nn.Module]:
        """Return the layers in the order of `kv_cache`."""
        return [*self.encoders0, *self.encoders]

    def forward(
        self, x: Tensor, caches: Sequence[Tensor], context: Sequence[Tensor], out: Sequence[Tensor]
    ) -> Tensor:
        """Return the hidden frames (B, T, D) of `x` (B, T, 560), zero where no frame exists.

        `context` ends with the frame mask. The cache of a chunk is that of keys and values
        (slots, L, 2, H, M, E); its new part goes to `out` (B, L, 2, H, stride, E).
        """
        x = self.layer_loop(x, caches, context, out)
        return self.after_norm(x) * context[-1]  # type: ignore[no-any-return]


class Predictor(nn.Module):
    """Map hidden frames to CIF's weights (FunASR's `CifPredictorV2`)."""

    def __init__(self, config: NetworkSizes) -> None:
        super().__init__()
        order = config.cif_left + config.cif_right + 1
        self._padding = (config.cif_left, config.cif_right)
        self._smooth, self._noise = config.cif_smooth, config.cif_noise
        self.cif_conv1d = nn.Conv1d(config.size, config.size, order)
        self.cif_output = nn.Linear(config.size, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the weights (B, T) of `hidden` (B, T, D), whose missing frames must be zero."""
        context = F.pad(hidden.transpose(1, 2), self._padding)
        queries = self.cif_conv1d(context).relu().transpose(1, 2)
        weights = self.cif_output(queries).sigmoid().squeeze(2)
        return (weights * self._smooth - self._noise).relu()  # type: ignore[no-any-return]


class DecoderContext(NamedTuple):
    """Hold what the decoder's layers share."""

    pad_index: Tensor  # (B, K) int64, see `ops.pad`
    unpad_index: Tensor  # (N,) int64, see `ops.unpad`
    hidden: Tensor  # (B, T, D) of the encoder
    slots: Tensor  # (B,) int64
    first: Tensor  # (B,) bool: the row has no FSMN inputs in the cache
    commit: Tensor  # (C,) int64: rows whose caches will change
    fsmn_index: Tensor  # (C, kernel - 1) int64: FSMN inputs to cache, places of B * (kernel-1 + K)
    attention_mask: Tensor  # (B, 1, 1, stride + T)


class CrossAttention(nn.Module):
    """Attend from the tokens to frames."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(size, size)
        self.linear_k_v = nn.Linear(size, 2 * size)
        self.linear_out = nn.Linear(size, size)

    def project(self, hidden: Tensor) -> Tensor:
        """Return a view of the keys and values (2, B, H, T, E) of `hidden` (B, T, D)."""
        return split_heads(self.linear_k_v(hidden), 2, self.heads)

    def forward(
        self, x: Tensor, key_values: Tensor, pad_index: Tensor, unpad_index: Tensor, mask: Tensor
    ) -> Tensor:
        """Return the output (N, D) of `x` (N, D) and of `key_values` (2, B, H, S, E)."""
        queries = pad(self.linear_q(x), pad_index)
        query = contiguous(split_heads(queries, 1, self.heads)[0], key_values.dtype)
        attended = unpad(attend(query, key_values, mask, x.dtype), unpad_index)
        return self.linear_out(attended)  # type: ignore[no-any-return]


class NormalisedFeedForward(nn.Module):
    """Apply two linear layers, the second without bias, with a ReLU and a normalisation between."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, units)
        self.w_2 = nn.Linear(units, size, bias=False)
        self.norm = nn.LayerNorm(units, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, D) to (N, D)."""
        return self.w_2(self.norm(self.w_1(x).relu_()))  # type: ignore[no-any-return]


class TokenFsmn(nn.Module):
    """Filter the tokens, each with its neighbours."""

    def __init__(self, size: int, kernel: int) -> None:
        super().__init__()
        self.fsmn_block = nn.Conv1d(size, size, kernel, groups=size, bias=False)

    def forward(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Return `x` (B, K, D) plus the filtered `inputs` (B, K + kernel - 1, D) around it."""
        return filter_tokens(inputs, self.fsmn_block.weight) + x


class DecoderLayer(nn.Module):
    """Apply feed-forward, FSMN over tokens, and attention to frames."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self._stride = config.stride
        self.attention_dtype = torch.float32
        self.feed_forward = NormalisedFeedForward(config.size, config.decoder_units)
        self.self_attn = TokenFsmn(config.size, config.decoder_kernel)
        self.src_attn = CrossAttention(config.size, config.heads)
        self.norm1 = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)
        self.norm3 = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)

    def forward(
        self, x: Tensor, fsmn_cache: Tensor, kv_cache: Tensor, *context: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output (N, D) of `x` (N, D), and the new contents of both caches.

        `fsmn_cache` is (slots, kernel - 1, D), `kv_cache` (slots, 2, H, stride, E); their new
        contents are (C, kernel - 1, D) and (C, 2, H, stride, E).
        """
        c = DecoderContext(*context)
        cached = cast(masked_zero(fsmn_cache.index_select(0, c.slots), c.first), x.dtype)
        key_values = gather_kv(kv_cache, c.slots, c.hidden.shape[1], self.attention_dtype)
        fed = self.norm2(self.feed_forward(self.norm1(x)))
        fed = pad(fed, c.pad_index)
        joined = torch.cat((cached, fed), dim=1)
        x = x + unpad(self.self_attn(fed, joined), c.unpad_index)
        own = append_kv(key_values, self.src_attn.project(c.hidden))
        index = (c.pad_index, c.unpad_index)
        attended = self.src_attn(self.norm3(x), key_values, *index, c.attention_mask)
        own = own.narrow(3, -self._stride, self._stride).index_select(1, c.commit)
        return x + attended, pad(joined.flatten(0, 1), c.fsmn_index), own.transpose(0, 1)


class LastDecoderLayer(nn.Module):
    """Apply a feed-forward block without residual (FunASR's `decoders3`)."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.feed_forward = NormalisedFeedForward(size, units)
        self.norm1 = nn.LayerNorm(size, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, D) to (N, D)."""
        return self.feed_forward(self.norm1(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Map token embeddings to scores of the vocabulary, by `layers` and a last one."""

    def __init__(self, layers: Iterable[nn.Module], size: int, units: int, vocabulary: int) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(layers)
        self.decoders3 = nn.ModuleList([LastDecoderLayer(size, units)])
        self.after_norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.output_layer = nn.Linear(size, vocabulary) if vocabulary else nn.Identity()
        self.layer_loop: LayerLoop = partial(run_layers, self.decoders)

    def hidden(
        self, x: Tensor, caches: Sequence[Tensor], context: Sequence[Tensor], out: Sequence[Tensor]
    ) -> Tensor:
        """Return what `output_layer` maps to logits, (N, D), of the embeddings `x` (N, D).

        The caches of a chunk are that of the FSMN (slots, L, kernel - 1, D) and the KV cache
        (slots, L, 2, H, stride, E). `out`, shaped like them with C rows, receives their new
        contents.
        """
        x = self.layer_loop(x, caches, context, out)
        for layer in self.decoders3:
            x = layer(x)
        return self.after_norm(x)  # type: ignore[no-any-return]

    def forward(
        self, x: Tensor, caches: Sequence[Tensor], context: Sequence[Tensor], out: Sequence[Tensor]
    ) -> Tensor:
        """Return the logits (N, vocabulary) of the embeddings `x` (N, D); see `hidden`."""
        return self.output_layer(self.hidden(x, caches, context, out))  # type: ignore[no-any-return]


class Paraformer(nn.Module):
    """Hold the parts of the network."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self.config = config
        layer = partial(CachedEncoderLayer, config)
        self.encoder = Encoder(layer, config.encoder_layers, config.size)
        self.predictor = Predictor(config)
        layers = (DecoderLayer(config) for _ in range(config.decoder_layers))
        self.decoder = Decoder(layers, config.size, config.decoder_units, config.vocabulary)
        self.parameter_count = sum(parameter.numel() for parameter in self.parameters())

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the activations between layers."""
        return self.encoder.after_norm.weight.dtype

    def embed(self, features: Tensor, chunks: Tensor) -> Tensor:
        """Return `features` (B, stride, 560), scaled, plus sinusoids of their positions.

        Positions follow from the number of earlier chunks (B,), so that the cost does not grow with
        the sentence (FunASR's `StreamSinusoidalPositionEncoder` counts positions from 1).
        """
        steps = torch.arange(1, self.config.stride + 1, device=features.device)
        encoding = positions(chunks[:, None] * self.config.stride + steps, FEATURES)
        return features * math.sqrt(self.config.size) + encoding

    def confidences(self, posteriors: Tensor) -> Tensor:
        """Return `posteriors` relative to the largest that label smoothing allows, at most 1."""
        return (posteriors / (1.0 - self.config.label_smoothing)).clamp(max=1.0)
