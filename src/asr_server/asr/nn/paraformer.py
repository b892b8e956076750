"""Streaming Paraformer for many streams in one forward pass.

The network is FunASR's `ParaformerStreaming` (Gao et al., "Paraformer", 2022; Zhang et al.,
"SCAMA", 2020) with the same parameter names, so that its checkpoints load unchanged; the forward
pass is ours: rows of a batch are different streams, at different places of different sentences,
and what they carry from chunk to chunk lives in `ParaformerState`.

A chunk is the `look_ahead` frames kept from the last chunk followed by up to `stride` new ones.
Frames past a row's length are masked everywhere, so a row never depends on its neighbours.

Letters of shapes: B rows, T frames of a chunk (look_ahead + stride), M frames looked back on,
K tokens of a row, N of all rows, D model size; keys and values as in `sanm`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr_server.asr.loading.config import ParaformerConfig
from asr_server.asr.nn.cif import Fired, integrate_and_fire
from asr_server.asr.nn.frontend import FEATURES
from asr_server.asr.nn.sanm import (
    LAYER_NORM_EPS,
    EncoderLayer,
    append,
    attend,
    by_head,
    filter_tokens,
    laid_out,
    penalties,
    positions,
    recall,
)
from asr_server.asr.run.shape_buckets import ROW_DIGITS, TOKEN_DIGITS, rounded, sizes
from asr_server.asr.run.slots import SPARE
from asr_server.asr.run.state import ParaformerState, Progress, unless
from asr_server.asr.run.tracing import Example, cast, interpreted, recorded

USUAL_TOKENS = 6
"""In a chunk, of whoever speaks quickly; a whole batch of more is compiled when it comes."""


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
        self.attention_dtype = torch.float32
        self._stride = config.stride
        self._layers = (*self.encoders0, *self.encoders)
        self._run = interpreted(self._through, self._layers)

    def forward(
        self,
        x: Tensor,
        memories: Tensor,
        slots: Tensor,
        penalty: Tensor,
        real: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Hidden frames (B, T, D) of `x` (B, T, 560), zero where not `real` (B, T, 1).

        The rows look back on `slots` (B,) of `memories` (slots, L, 2, H, M, E); `penalty` as for a
        layer. Also what a row that commits will remember: (B, L, 2, H, stride, E).
        """
        call = self._call(x, memories, slots, penalty, real)
        _, _, _, (room,) = call
        return self.after_norm(self._run(*call)) * real, room

    def record(self, examples: Sequence[Sequence[Tensor]]) -> None:
        """Run the layers without the interpreter, now that their weights are final.

        The examples are what `forward` takes.
        """
        calls = [self._call(*example) for example in examples]
        self._run = recorded(self._through, self._layers, calls)

    def rehearse(self, *example: Tensor) -> None:
        """Have compiled what `forward` of tensors of these sizes needs: two layers have it all."""
        interpreted(self._through, self._layers[:2])(*self._call(*example))

    def _call(self, x: Tensor, memories: Tensor, *shared: Tensor) -> Example:
        return x, [memories], list(shared), [_room(memories, len(x), self._stride)]

    def _through(
        self, layer: nn.Module, x: Tensor, own: list[Tensor], shared: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Through one layer; kept are keys and values to remember."""
        (memories,), (slots, penalty, real) = own, shared
        seen = recall(memories, slots, x.shape[1], self.attention_dtype)
        x, key_value = layer(x, seen, penalty, real)
        return x, [key_value.narrow(3, 0, self._stride).transpose(0, 1)]


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


def spread(x: Tensor, places: Tensor) -> Tensor:
    """The tokens `x` (N, D) of all rows, row by row (B, K, D): `places` (B, K) says where each is.

    A row's tokens come first in it; behind them is whatever `places` names there.
    """
    return x.index_select(0, places.flatten()).view(*places.shape, int(x.shape[1]))


def gathered(x: Tensor, spoken: Tensor) -> Tensor:
    """Of `x` (B, K, D) the tokens that exist, (N, D), at the places `spoken` (N,) of B * K."""
    return x.flatten(0, 1).index_select(0, spoken)


class CrossAttention(nn.Module):
    """From the tokens to the frames of this chunk and of the last one that fired."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(size, size)
        self.linear_k_v = nn.Linear(size, 2 * size)
        self.linear_out = nn.Linear(size, size)

    def forward(
        self,
        x: Tensor,
        places: Tensor,
        spoken: Tensor,
        hidden: Tensor,
        seen: Tensor,
        penalty: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` (N, D) to what is recalled and to `hidden` (B, T, D).

        `places` and `spoken` as for `spread` and `gathered`, `seen` (2, B, H, stride + T, E) of
        `recall`. Gives the output (N, D) and the chunk's keys and values (2, B, H, T, E).
        """
        key_value = append(seen, by_head(self.linear_k_v(hidden), 2, self.heads))
        queries = spread(self.linear_q(x), places)
        query = laid_out(by_head(queries, 1, self.heads)[0], seen.dtype)
        attended = gathered(attend(query, seen, penalty, x.dtype), spoken)
        return self.linear_out(attended), key_value


class NormalisedFeedForward(nn.Module):
    """Two linear layers with a ReLU and a normalisation between, the second without bias."""

    def __init__(self, size: int, units: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, units)
        self.w_2 = nn.Linear(units, size, bias=False)
        self.norm = nn.LayerNorm(units, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) to (N, D)."""
        return self.w_2(self.norm(self.w_1(x).relu_()))  # type: ignore[no-any-return]


class CausalFsmn(nn.Module):
    """A depthwise filter over the tokens so far."""

    def __init__(self, size: int, kernel: int) -> None:
        super().__init__()
        self.fsmn_block = nn.Conv1d(size, size, kernel, groups=size, bias=False)

    def forward(self, x: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Filter `x` (B, K, D) behind `history` (B, kernel - 1, D); also both, joined."""
        joined = torch.cat((history, x), dim=1)
        return filter_tokens(joined, self.fsmn_block.weight) + x, joined


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
        self,
        x: Tensor,
        places: Tensor,
        spoken: Tensor,
        hidden: Tensor,
        history: Tensor,
        seen: Tensor,
        penalty: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The output (N, D), the joined FSMN inputs and the keys and values."""
        fed = self.norm2(self.feed_forward(self.norm1(x)))
        filtered, joined = self.self_attn(spread(fed, places), history)
        x = x + gathered(filtered, spoken)
        attended, key_value = self.src_attn(self.norm3(x), places, spoken, hidden, seen, penalty)
        return x + attended, joined, key_value


class LastDecoderLayer(nn.Module):
    """A feed-forward block without residual (FunASR's `decoders3`)."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self.feed_forward = NormalisedFeedForward(config.size, config.decoder_units)
        self.norm1 = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) to (N, D)."""
        return self.feed_forward(self.norm1(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Token embeddings to vocabulary scores."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.decoders3 = nn.ModuleList([LastDecoderLayer(config)])
        self.after_norm = nn.LayerNorm(config.size, eps=LAYER_NORM_EPS)
        self.output_layer = nn.Linear(config.size, config.vocabulary)
        self.attention_dtype = torch.float32
        self._stride = config.stride
        self._run = interpreted(self._through, tuple(self.decoders))

    def forward(
        self,
        x: Tensor,
        histories: Tensor,
        memories: Tensor,
        places: Tensor,
        spoken: Tensor,
        hidden: Tensor,
        slots: Tensor,
        first: Tensor,
        commit: Tensor,
        last: Tensor,
        penalty: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `output_layer` takes, (N, D), of the embeddings `x` (N, D) of all rows' tokens.

        `places` (B, K) and `spoken` (N,) say which is whose, see `spread` and `gathered`. The rows
        look back on `slots` (B,) of `histories` (slots, L, kernel - 1, D) and of
        `memories` (slots, L, 2, H, stride, E); a `first` (B,) one has no history. Also the
        histories and memories, shaped like these, of the rows `commit` (C,), whose `last`
        (C, kernel - 1) inputs will be remembered: places in the joined ones of all rows.
        """
        shared = (places, spoken, hidden, slots, first, commit, last, penalty)
        call = self._call(x, histories, memories, *shared)
        _, _, _, (inputs, room) = call
        x = self._run(*call)
        for layer in self.decoders3:
            x = layer(x)
        return self.after_norm(x), inputs, room

    def record(self, examples: Sequence[Sequence[Tensor]]) -> None:
        """As `Encoder.record`."""
        calls = [self._call(*example) for example in examples]
        self._run = recorded(self._through, tuple(self.decoders), calls)

    def rehearse(self, *example: Tensor) -> None:
        """As `Encoder.rehearse`; one layer and the scores have it all."""
        self.output_layer(interpreted(self._through, [self.decoders[0]])(*self._call(*example)))

    def _call(self, x: Tensor, histories: Tensor, memories: Tensor, *shared: Tensor) -> Example:
        rows = len(shared[-3])  # that commit
        inputs = histories.new_empty((rows, *histories.shape[1:]))
        rooms = [inputs, _room(memories, rows, self._stride)]
        return x, [histories, memories], list(shared), rooms

    def _through(
        self, layer: nn.Module, x: Tensor, own: list[Tensor], shared: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Through one layer; kept are inputs of the FSMN, keys and values to remember."""
        (histories, memories), (places, spoken, hidden, slots, *rest) = own, shared
        first, commit, last, penalty = rest
        history = cast(unless(first, histories.index_select(0, slots)), x.dtype)
        seen = recall(memories, slots, hidden.shape[1], self.attention_dtype)
        x, joined, key_value = layer(x, places, spoken, hidden, history, seen, penalty)
        kept = key_value.narrow(3, -self._stride, self._stride).index_select(1, commit)
        return x, [spread(joined.flatten(0, 1), last), kept.transpose(0, 1)]


def _room(memories: Tensor, rows: int, frames: int) -> Tensor:
    """Room for keys and values of so many rows and frames, like `memories` (slots, L, 2, H, _, E).

    It is one piece, since small ones between all that the layers allocate and free would tear the
    heap to shreds.
    """
    _, layers, parts, heads, _, width = memories.shape
    return memories.new_empty((rows, layers, parts, heads, frames, width))


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
    """What the rows of a batch fired; places past a row's count mean nothing."""

    counts: Tensor  # (B,) int64
    tokens: Tensor  # (B, K) int64
    confidences: Tensor  # (B, K) float32
    fired_at: Tensor  # (B, K) float32, in frames from the begin of the chunk's first new frame
    scores: Tensor  # logits (sum of the counts, vocabulary), row by row; (B * K, ...) if static
    progress: Progress


class Paraformer(nn.Module):
    """The whole network."""

    def __init__(self, config: ParaformerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.predictor = Predictor(config)
        self.decoder = Decoder(config)

    @torch.inference_mode()
    def record(self, state: ParaformerState) -> None:
        """From now on run the layers without the interpreter, with the weights as they are."""
        examples = [self._example(rows, 2 * rows - 1, state) for rows in (2, 3)]
        self.encoder.record([encoder for encoder, _ in examples])
        self.decoder.record([decoder for _, decoder in examples])

    @torch.inference_mode()
    def rehearse(self, state: ParaformerState, most_rows: int) -> None:
        """Have compiled what any batch of up to so many rows needs; see `sizes`.

        Large batches first: what is compiled for smaller ones finds room where they computed.
        """
        for rows in reversed(sizes(most_rows, ROW_DIGITS)):
            encoder, decoder = self._example(rows, 1, state)
            frames, *_ = encoder
            self.encoder.rehearse(*encoder)
            self.predictor(frames.new_zeros(*frames.shape[:2], self.config.size).float())
            self.decoder.rehearse(*decoder)
        for tokens in reversed(sizes(most_rows * USUAL_TOKENS, TOKEN_DIGITS)):
            _, decoder = self._example(1, tokens, state)
            self.decoder.rehearse(*decoder)

    @torch.inference_mode()
    def forward(self, batch: ChunkBatch, state: ParaformerState) -> Decoded:
        """Decode one chunk of every row; the state stays until `ParaformerState.advance`."""
        chunk = torch.cat(
            (
                unless(batch.first, state.overlap[batch.slots]),
                self._with_positions(
                    batch.features, unless(batch.first, state.chunks[batch.slots])
                ),
            ),
            dim=1,
        )  # (B, T, 560)
        commit = state.which(batch.commit)
        hidden, weights, key_values = self._encode(chunk, batch, state)
        fired = integrate_and_fire(
            hidden.float(),
            weights,
            unless(batch.first, state.rest_hidden[batch.slots]),
            unless(batch.first, state.rest_weight[batch.slots]),
            batch.tail * self.config.cif_tail,
            self.config.cif_threshold,
            self.config.most_tokens if state.static else None,
        )
        rows = state.which(fired.counts > 0)  # rows with nothing to decode cost nothing
        tokens = torch.zeros_like(fired.fired_at, dtype=torch.int64)
        confidences = torch.zeros_like(fired.fired_at)
        scores = hidden[:0]
        histories, memories = state.history[:0], state.decoder_memory[:0]
        if len(rows):
            scores, histories, memories = self._decode(fired, hidden, rows, batch, state)
            best = scores.float().log_softmax(dim=1).max(dim=1)
            certainty = best.values.exp() / (1.0 - self.config.label_smoothing)
            real = state.which(fired.real.flatten())
            tokens.view(-1)[real] = best.indices
            confidences.view(-1)[real] = certainty.clamp(max=1.0)

        progress = Progress(
            slots=batch.slots * batch.commit,
            first=batch.first,
            commit=commit,
            chunk=chunk,
            key_values=key_values,
            fired=fired,
            decoded=rows[state.which(batch.commit[rows])],
            histories=histories,
            memories=memories,
        )
        at = fired.fired_at - self.config.look_ahead
        return Decoded(fired.counts, tokens, confidences, at, scores, progress)

    # The parts ----------------------------------------------------------------------------------

    def _example(
        self, rows: int, tokens: int, state: ParaformerState
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What encoder and decoder take for so many rows and tokens; all rows but one commit."""
        config, dtype = self.config, self.encoder.after_norm.weight.dtype
        slots, commit = torch.arange(rows), torch.arange(rows - 1)
        first, last = slots == 0, torch.arange(config.decoder_kernel - 1).expand(rows - 1, -1)
        frames = torch.randn(rows, config.frames, FEATURES).to(dtype)
        hidden = torch.randn(rows, config.frames, config.size).to(dtype)
        most = math.ceil(tokens / rows)
        places = torch.arange(rows * most).clamp(max=tokens - 1).view(rows, most)
        spoken = torch.arange(tokens)
        fired = torch.randn(tokens, config.size).to(dtype)
        real = torch.ones(rows, config.frames, 1, dtype=dtype)
        memories, history = state.decoder_memory, state.history
        looks_back, remembers = (
            torch.zeros(rows, 1, 1, frames + config.frames)
            for frames in (config.memory, config.stride)
        )
        encoder = (frames, state.encoder_memory, slots, looks_back, real)
        shared = (places, spoken, hidden, slots, first, commit, last, remembers)
        return encoder, (fired, history, memories, *shared)

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
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden frames (B, T, D), CIF weights (B, T), and keys and values as in `Progress`."""
        config = self.config
        device = chunk.device
        lengths = batch.lengths + config.look_ahead  # (B,)
        frame = torch.arange(config.frames, device=device)[None, :]  # (1, T)
        real = frame < lengths[:, None]  # (B, T)
        chunks = unless(batch.first, state.chunks[batch.slots])
        place = torch.arange(config.memory, device=device)[None, :]
        seen = place < (chunks * config.stride)[:, None]  # (B, M)
        visible = torch.cat((seen, real), dim=1)[:, None, None, :]  # (B, 1, 1, M + T)
        penalty = penalties(visible)

        dtype = self.encoder.after_norm.weight.dtype
        hidden, key_values = self.encoder(
            chunk.to(dtype),
            state.encoder_memory,
            batch.slots,
            penalty,
            real[:, :, None].to(dtype),
        )
        # Look-ahead frames count only when no later chunk will bring them again.
        counted = real & (batch.whole[:, None] | (frame < config.stride))
        counted &= (batch.slots != SPARE)[:, None]  # or rows that fill up a batch might speak
        return hidden, self.predictor(hidden.float()) * counted, key_values

    def _decode(
        self,
        fired: Fired,
        hidden: Tensor,
        rows: Tensor,
        batch: ChunkBatch,
        state: ParaformerState,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores as in `Decoded`, histories and memories as in `Progress`."""
        config = self.config
        spoken = state.which(fired.real[rows].flatten())  # (N,)
        commit = state.which(batch.commit[rows])
        order = torch.arange(config.decoder_kernel - 1, device=hidden.device)
        joined = len(order) + fired.embeddings.shape[1]  # frames of a row
        # Of rows that commit, the last of history and tokens that are real: (C, kernel - 1).
        last = (commit * joined + fired.counts[rows[commit]])[:, None] + order
        count = len(spoken)
        if not state.static:
            rows, spoken = _filled_up(rows, ROW_DIGITS), _filled_up(spoken, TOKEN_DIGITS)
        embeddings = fired.embeddings[rows]  # (B, K, D)
        places = torch.zeros(embeddings.shape[:2], dtype=torch.int64, device=hidden.device)
        places.view(-1)[spoken[:count]] = torch.arange(count, device=hidden.device)
        x, hidden = gathered(embeddings, spoken).to(hidden.dtype), hidden[rows]
        slots, first = batch.slots[rows], batch.first[rows]
        lengths = batch.lengths[rows] + config.look_ahead
        frame = torch.arange(config.frames, device=hidden.device)[None, :]
        remembers = (state.fired[slots] & ~first)[:, None].expand(-1, config.stride)
        visible = torch.cat((remembers, frame < lengths[:, None]), dim=1)[:, None, None, :]
        penalty = penalties(visible)

        x, histories, memories = self.decoder(
            x,
            state.history,
            state.decoder_memory,
            places,
            spoken,
            hidden,
            slots,
            first,
            commit,
            last,
            penalty,
        )
        return self.decoder.output_layer(x)[:count], histories, memories


def _filled_up(indices: Tensor, digits: int) -> Tensor:
    """`indices` (N,), of which there is one, and more of the first to make one of few sizes."""
    count = len(indices)
    return F.pad(indices, (0, rounded(count, digits) - count), value=int(indices[0]))
