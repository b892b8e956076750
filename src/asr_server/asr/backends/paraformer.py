"""Streaming Paraformer for many streams in one forward pass.

The network is FunASR's `ParaformerStreaming` (Gao et al., "Paraformer", 2022; Zhang et al.,
"SCAMA", 2020) with the same parameter names, so that its checkpoints load unchanged; the forward
pass is ours: rows of a batch are different streams, at different places of different sentences,
and what they carry from chunk to chunk lives in `ParaformerState`.

A chunk is the `look_ahead` frames kept from the last chunk followed by up to `stride` new ones.
Frames past a row's length are masked everywhere, so a row never depends on its neighbours.

Letters of shapes: B rows, T frames of a chunk (look_ahead + stride), M frames looked back on,
K tokens, D model size.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_server.asr.backends.cif import integrate_and_fire
from asr_server.asr.backends.frontend import FEATURES
from asr_server.asr.backends.sanm import LAYER_NORM_EPS, EncoderLayer, positions, split_heads


@dataclass(frozen=True, slots=True)
class ParaformerConfig:
    """The sizes of a model and the operating point it runs at."""

    vocabulary: int
    size: int
    heads: int
    encoder_units: int
    encoder_layers: int
    encoder_kernel: int
    decoder_units: int
    decoder_layers: int
    decoder_kernel: int
    cif_left: int
    cif_right: int
    cif_threshold: float
    cif_smooth: float
    cif_noise: float
    cif_tail: float
    stride: int = 10
    """New frames of a chunk."""
    look_ahead: int = 5
    """Frames of a chunk that only serve as context and are decoded with the next one."""
    encoder_look_back: int = 4
    """Chunks whose keys and values the encoder still sees."""

    @property
    def frames(self) -> int:
        """Frames of a whole chunk."""
        return self.stride + self.look_ahead

    @property
    def memory(self) -> int:
        """Frames the encoder looks back on."""
        return self.encoder_look_back * self.stride

    @classmethod
    def from_funasr(
        cls, config: Mapping[str, Any], vocabulary: int, chunk_size: tuple[int, int, int]
    ) -> "ParaformerConfig":
        """Read a FunASR `config.yaml`; raises `ValueError` for what this engine cannot run."""
        encoder, decoder = config["encoder_conf"], config["decoder_conf"]
        predictor = config["predictor_conf"]
        left, stride, look_ahead = chunk_size
        _require(left == 0, "chunk_size must begin with 0: no left context is recomputed")
        _require(
            config.get("model") == "ParaformerStreaming", "the model is no ParaformerStreaming"
        )
        _require(
            config.get("encoder") == "SANMEncoderChunkOpt", "the encoder is no SANMEncoderChunkOpt"
        )
        _require(encoder.get("sanm_shfit", 0) == 0, "the encoder's FSMN is shifted")
        _require(
            decoder.get("att_layer_num", 6) == decoder["num_blocks"],
            "the decoder has layers without attention",
        )
        kernel = decoder.get("kernel_size", 21)
        shift = decoder.get("sanm_shfit")
        shift = (kernel - 1) // 2 if shift is None else shift
        _require((kernel - 1) // 2 + shift == kernel - 1, "the decoder's FSMN looks ahead")
        return cls(
            vocabulary=vocabulary,
            size=encoder["output_size"],
            heads=encoder["attention_heads"],
            encoder_units=encoder["linear_units"],
            encoder_layers=encoder["num_blocks"],
            encoder_kernel=encoder.get("kernel_size", 11),
            decoder_units=decoder["linear_units"],
            decoder_layers=decoder["num_blocks"],
            decoder_kernel=kernel,
            cif_left=predictor.get("l_order", 1),
            cif_right=predictor.get("r_order", 1),
            cif_threshold=predictor.get("threshold", 1.0),
            cif_smooth=predictor.get("smooth_factor", 1.0),
            cif_noise=predictor.get("noise_threshold", 0.0),
            cif_tail=predictor.get("tail_threshold", 0.45),
            stride=stride,
            look_ahead=look_ahead,
        )


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(f"this model cannot be streamed here: {why}")


class Encoder(nn.Module):
    """Features to hidden frames."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()

        def layer(inputs: int) -> EncoderLayer:
            return EncoderLayer(
                inputs, config.size, config.heads, config.encoder_units, config.encoder_kernel
            )

        self.encoders0 = nn.ModuleList([layer(FEATURES)])
        self.encoders = nn.ModuleList(layer(config.size) for _ in range(config.encoder_layers - 1))
        self.after_norm = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)

    @property
    def layers(self) -> list[nn.Module]:
        """All layers, first to last."""
        return [*self.encoders0, *self.encoders]


class Predictor(nn.Module):
    """How much of a token each frame holds (FunASR's `CifPredictorV2`)."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        order = config.cif_left + config.cif_right + 1
        self._padding = (config.cif_left, config.cif_right)
        self._smooth, self._noise = config.cif_smooth, config.cif_noise
        self.cif_conv1d = nn.Conv1d(config.size, config.size, order)
        self.cif_output = nn.Linear(config.size, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Weights (B, T) of `hidden` (B, T, D), whose frames past a row's length must be zero."""
        context = F.pad(hidden.transpose(1, 2), self._padding)
        queries = self.cif_conv1d(context).relu().transpose(1, 2)
        weights = self.cif_output(queries).sigmoid().squeeze(2)
        return (weights * self._smooth - self._noise).relu()  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """From the tokens to the frames of this chunk and of the last one that fired."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(size, size)
        self.linear_k_v = nn.Linear(size, 2 * size)
        self.linear_out = nn.Linear(size, size)

    def forward(
        self, x: Tensor, hidden: Tensor, memory: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` (B, K, D) to `memory` (B, stride, 2D) and `hidden` (B, T, D).

        Gives the output (B, K, D) and the chunk's keys and values (B, T, 2D).
        """
        key_value = self.linear_k_v(hidden)
        keys, values = torch.cat((memory, key_value), dim=1).chunk(2, dim=2)
        attended = F.scaled_dot_product_attention(
            split_heads(self.linear_q(x), self.heads),
            split_heads(keys, self.heads),
            split_heads(values, self.heads),
            attn_mask=mask,
        )
        return self.linear_out(attended.transpose(1, 2).flatten(2)), key_value


class NormalisedFeedForward(nn.Module):
    """Two linear layers with a ReLU and a normalisation between, the second without bias."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, units)
        self.w_2 = nn.Linear(units, size, bias=False)
        self.norm = nn.LayerNorm(units, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, D) to (B, K, D)."""
        return self.w_2(self.norm(self.w_1(x).relu()))  # type: ignore[no-any-return]


class CausalFsmn(nn.Module):
    """A depthwise filter over the tokens so far."""

    def __init__(self, size: int, kernel: int) -> None:
        super().__init__()
        self.fsmn_block = nn.Conv1d(size, size, kernel, groups=size, bias=False)

    def forward(self, x: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Filter `x` (B, K, D) behind `history` (B, kernel - 1, D); also both, joined."""
        joined = torch.cat((history, x), dim=1)
        filtered = F.conv1d(joined.transpose(1, 2), self.fsmn_block.weight, groups=x.shape[2])
        return filtered.transpose(1, 2) + x, joined


class DecoderLayer(nn.Module):
    """Feed-forward, FSMN over tokens, attention to frames."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self.feed_forward = NormalisedFeedForward(config.size, config.decoder_units)
        self.self_attn = CausalFsmn(config.size, config.decoder_kernel)
        self.src_attn = CrossAttention(config.size, config.heads)
        self.norm1 = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)
        self.norm3 = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)

    def forward(
        self, x: Tensor, hidden: Tensor, history: Tensor, memory: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The output (B, K, D), the joined FSMN inputs and the keys and values."""
        filtered, joined = self.self_attn(self.norm2(self.feed_forward(self.norm1(x))), history)
        x = x + filtered
        attended, key_value = self.src_attn(self.norm3(x), hidden, memory, mask)
        return x + attended, joined, key_value


class LastDecoderLayer(nn.Module):
    """A feed-forward block without residual (FunASR's `decoders3`)."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self.feed_forward = NormalisedFeedForward(config.size, config.decoder_units)
        self.norm1 = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K, D) to (B, K, D)."""
        return self.feed_forward(self.norm1(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Token embeddings to vocabulary scores."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.decoders3 = nn.ModuleList([LastDecoderLayer(config)])
        self.after_norm = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)
        self.output_layer = nn.Linear(config.size, config.vocabulary)


class ParaformerState:
    """What every stream carries from chunk to chunk, one row of each tensor per slot.

    Rows are written only when a chunk is committed. A row's content before the first committed
    chunk of a sentence means nothing: `first` rows read it as empty.
    """

    def __init__(
        self, config: ParaformerConfig, slots: int, memory_dtype: torch.dtype, device: torch.device
    ) -> None:
        def rows(*shape: int, dtype: torch.dtype = memory_dtype) -> Tensor:
            return torch.zeros((slots, *shape), dtype=dtype, device=device)

        size = config.size
        self.overlap = rows(config.look_ahead, FEATURES, dtype=torch.float32)
        self.chunks = rows(dtype=torch.int64)
        self.fired = rows(dtype=torch.bool)
        """Whether a chunk of the sentence has fired, so that the decoder has a memory."""
        self.rest_weight = rows(dtype=torch.float32)
        self.rest_hidden = rows(size, dtype=torch.float32)
        self.encoder_memory = [rows(config.memory, 2 * size) for _ in range(config.encoder_layers)]
        """A ring of keys and values: attention does not care in which order it sees them."""
        self.decoder_memory = [rows(config.stride, 2 * size) for _ in range(config.decoder_layers)]
        self.history = [rows(config.decoder_kernel - 1, size) for _ in range(config.decoder_layers)]


@dataclass(frozen=True, slots=True)
class ChunkBatch:
    """One chunk of each of B rows."""

    slots: Tensor  # (B,) int64
    first: Tensor  # (B,) bool: opens a sentence
    features: Tensor  # (B, stride, 560) float32, zeros past `lengths`
    lengths: Tensor  # (B,) int64: new frames
    whole: Tensor  # (B,) bool: the look-ahead frames are decoded now, not with the next chunk
    tail: Tensor  # (B,) bool: nothing follows; an almost full token fires
    commit: Tensor  # (B,) bool: the state advances


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the rows of a batch fired."""

    counts: Tensor  # (B,) int64
    tokens: Tensor  # (B, K) int64
    confidences: Tensor  # (B, K) float32
    fired_at: Tensor  # (B, K) float32, in frames from the begin of the chunk's first new frame
    scores: Tensor  # (rows that fired, K, vocabulary) logits


class Paraformer(nn.Module):
    """The whole network."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.predictor = Predictor(config)
        self.decoder = Decoder(config)

    @torch.inference_mode()
    def forward(self, batch: ChunkBatch, state: ParaformerState) -> Decoded:
        """Decode one chunk of every row and advance the state of those that commit.

        Nothing is written before everything has been computed.
        """
        chunk = torch.cat(
            (
                _unless(batch.first, state.overlap[batch.slots]),
                self._with_positions(
                    batch.features, _unless(batch.first, state.chunks[batch.slots])
                ),
            ),
            dim=1,
        )  # (B, T, 560)
        hidden, weights, key_values = self._encode(chunk, batch, state)
        fired = integrate_and_fire(
            hidden.float(),
            weights,
            _unless(batch.first, state.rest_hidden[batch.slots]),
            _unless(batch.first, state.rest_weight[batch.slots]),
            batch.tail * self.config.cif_tail,
            self.config.cif_threshold,
        )
        rows = fired.counts.nonzero().squeeze(1)  # rows with nothing to decode cost nothing
        tokens = torch.zeros_like(fired.fired_at, dtype=torch.int64)
        confidences = torch.zeros_like(fired.fired_at)
        scores = hidden[:0]
        histories: list[Tensor] = []
        memories: list[Tensor] = []
        if len(rows):
            scores, histories, memories = self._decode(
                fired.embeddings[rows], hidden[rows], rows, batch, state
            )
            best = scores.float().log_softmax(dim=2).max(dim=2)
            tokens[rows], confidences[rows] = best.indices, best.values.exp()

        self._commit(batch, state, chunk, key_values)
        committed = batch.commit.nonzero().squeeze(1)
        slots = batch.slots[committed]
        state.rest_weight[slots] = fired.rest_weight[committed]
        state.rest_hidden[slots] = fired.rest_hidden[committed]
        self._commit_decoder(batch, state, rows, fired.counts[rows], histories, memories)
        offset = self.config.look_ahead
        return Decoded(fired.counts, tokens, confidences, fired.fired_at - offset, scores)

    # The parts ----------------------------------------------------------------------------------

    def _with_positions(self, features: Tensor, chunks: Tensor) -> Tensor:
        """Scale the features and add the sinusoids of their positions in the sentence.

        Computed from the offset, so that the cost does not grow with the sentence (FunASR's
        `StreamSinusoidalPositionEncoder` counts positions from 1).
        """
        steps = torch.arange(1, self.config.stride + 1, device=features.device)
        encoding = positions(chunks[:, None] * self.config.stride + steps, FEATURES)
        return features * math.sqrt(self.config.size) + encoding

    def _encode(
        self, chunk: Tensor, batch: ChunkBatch, state: ParaformerState
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        config = self.config
        device = chunk.device
        lengths = batch.lengths + config.look_ahead  # (B,)
        frame = torch.arange(config.frames, device=device)[None, :]  # (1, T)
        real = frame < lengths[:, None]  # (B, T)
        chunks = _unless(batch.first, state.chunks[batch.slots])
        remembered = torch.arange(config.memory, device=device)[None, :]
        seen = remembered < (chunks * config.stride)[:, None]  # (B, M)
        mask = torch.cat((seen, real), dim=1)[:, None, None, :]  # (B, 1, 1, M + T)

        dtype = self.encoder.after_norm.weight.dtype
        x = chunk.to(dtype)
        real_frames = real[:, :, None].to(dtype)
        key_values = []
        for layer, memory in zip(self.encoder.layers, state.encoder_memory, strict=True):
            x, key_value = layer(x, memory[batch.slots].to(dtype), mask, real_frames)
            key_values.append(key_value)
        hidden = self.encoder.after_norm(x) * real_frames
        # Look-ahead frames count only when no later chunk will bring them again.
        counted = real & (batch.whole[:, None] | (frame < config.stride))
        return hidden, self.predictor(hidden.float()) * counted, key_values

    def _decode(
        self,
        embeddings: Tensor,
        hidden: Tensor,
        rows: Tensor,
        batch: ChunkBatch,
        state: ParaformerState,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Scores (B, K, vocabulary), and per layer the FSMN inputs and the keys and values."""
        config = self.config
        slots, first = batch.slots[rows], batch.first[rows]
        lengths = batch.lengths[rows] + config.look_ahead
        frame = torch.arange(config.frames, device=hidden.device)[None, :]
        remembers = (state.fired[slots] & ~first)[:, None].expand(-1, config.stride)
        mask = torch.cat((remembers, frame < lengths[:, None]), dim=1)[:, None, None, :]

        x = embeddings.to(hidden.dtype)
        histories, memories = [], []
        for layer, history, memory in zip(
            self.decoder.decoders, state.history, state.decoder_memory, strict=True
        ):
            x, joined, key_value = layer(
                x,
                hidden,
                _unless(first, history[slots]).to(x.dtype),
                memory[slots].to(x.dtype),
                mask,
            )
            histories.append(joined)
            memories.append(key_value)
        for last in self.decoder.decoders3:
            x = last(x)
        return self.decoder.output_layer(self.decoder.after_norm(x)), histories, memories

    # The state ----------------------------------------------------------------------------------

    def _commit(
        self, batch: ChunkBatch, state: ParaformerState, chunk: Tensor, key_values: list[Tensor]
    ) -> None:
        config = self.config
        rows = batch.commit.nonzero().squeeze(1)
        slots = batch.slots[rows]
        chunks = _unless(batch.first[rows], state.chunks[slots])
        begin = (chunks % config.encoder_look_back) * config.stride
        ring = begin[:, None] + torch.arange(config.stride, device=begin.device)  # (B, stride)
        for memory, key_value in zip(state.encoder_memory, key_values, strict=True):
            memory[slots[:, None], ring] = key_value[rows, : config.stride].to(memory.dtype)
        state.overlap[slots] = chunk[rows, -config.look_ahead :]
        state.chunks[slots] = chunks + 1
        # A sentence's first chunk also ends what an earlier sentence left behind.
        state.fired[slots] &= ~batch.first[rows]
        opened = slots[batch.first[rows]]
        for history in state.history:
            history[opened] = 0

    def _commit_decoder(
        self,
        batch: ChunkBatch,
        state: ParaformerState,
        rows: Tensor,
        counts: Tensor,
        histories: list[Tensor],
        memories: list[Tensor],
    ) -> None:
        """Remember the decoder's inputs of the rows that fired and commit."""
        chosen = batch.commit[rows].nonzero().squeeze(1)
        if not len(chosen):
            return
        slots, counts = batch.slots[rows][chosen], counts[chosen]
        kept = counts[:, None] + torch.arange(
            self.config.decoder_kernel - 1, device=counts.device
        )  # (B, kernel - 1): the last inputs that are real
        for layer, (joined, key_value) in enumerate(zip(histories, memories, strict=True)):
            history, memory = state.history[layer], state.decoder_memory[layer]
            history[slots] = joined[chosen[:, None], kept].to(history.dtype)
            memory[slots] = key_value[chosen, -self.config.stride :].to(memory.dtype)
        state.fired[slots] = True


def _unless(condition: Tensor, rows: Tensor) -> Tensor:
    """The rows, zero where `condition` (B,) holds."""
    shape = (-1, *[1] * (rows.dim() - 1))
    return torch.where(condition.view(shape), torch.zeros_like(rows), rows)
