"""Run the Paraformer on a batch of chunks: read the slots, compute, and hand back their update.

Letters of shapes as in `nn.paraformer`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_server.asr.nn.cif import Fired, integrate_and_fire
from asr_server.asr.nn.frontend import FEATURES
from asr_server.asr.nn.layer_loop import run_layers
from asr_server.asr.nn.ops import masked_zero, unpad
from asr_server.asr.nn.paraformer import DecoderContext, EncoderContext, Paraformer
from asr_server.asr.nn.sanm import attention_mask
from asr_server.asr.run.shape_buckets import ROW_DIGITS, TOKEN_DIGITS, buckets, pad_to_bucket
from asr_server.asr.run.state import ParaformerState, StateUpdate
from asr_server.asr.run.tracing import Example, traced
from asr_server.asr.types import DUMMY_SLOT

WARM_UP_TOKENS = 6
"""Tokens of a chunk of quick speech; a batch with more of them in all its rows compiles then."""


@dataclass(frozen=True, slots=True)
class ChunkBatch:
    """Hold one chunk of each of B rows."""

    slots: Tensor  # (B,) int64
    first: Tensor  # (B,) bool: opens a sentence
    features: Tensor  # (B, stride, 560) float32, zeros past `lengths`
    lengths: Tensor  # (B,) int64: new frames
    whole: Tensor  # (B,) bool: the look-ahead frames are decoded now, not with the next chunk
    tail: Tensor  # (B,) bool: nothing follows; an almost full token fires
    commit: Tensor  # (B,) bool: the state advances


@dataclass(frozen=True, slots=True)
class Decoded:
    """Hold the tokens of a batch; places past a row's count mean nothing."""

    counts: Tensor  # (B,) int64
    tokens: Tensor  # (B, K) int64
    confidences: Tensor  # (B, K) float32
    fired_at: Tensor  # (B, K) float32, in frames from the begin of the chunk's first new frame
    scores: Tensor  # logits (sum of the counts, vocabulary), row by row; (B * K, ...) if static
    update: StateUpdate


class ParaformerRunner:
    """Decode batches of chunks."""

    def __init__(self, paraformer: Paraformer, state: ParaformerState) -> None:
        self._paraformer, self._config = paraformer, paraformer.config
        self._encoder, self._decoder = paraformer.encoder, paraformer.decoder
        self._state = state

    @torch.inference_mode()
    def __call__(self, batch: ChunkBatch) -> Decoded:
        """Decode one chunk of every row; the state stays until `ParaformerState.apply`."""
        config, state = self._config, self._state
        chunks = masked_zero(state.chunks[batch.slots], batch.first)
        overlap = masked_zero(state.overlap[batch.slots], batch.first)
        chunk = torch.cat((overlap, self._paraformer.embed(batch.features, chunks)), dim=1)
        commit = state.indices(batch.commit)
        hidden, weights, encoder_kv = self._encode(chunk, chunks, batch)
        fired = integrate_and_fire(
            hidden.float(),
            weights,
            masked_zero(state.rest_hidden[batch.slots], batch.first),
            masked_zero(state.rest_weight[batch.slots], batch.first),
            batch.tail * config.cif_tail,
            config.cif_threshold,
            config.max_tokens if state.static else None,
        )
        rows = state.indices(fired.counts > 0)  # rows without tokens cost nothing
        tokens = torch.zeros_like(fired.fired_at, dtype=torch.int64)
        confidences = torch.zeros_like(fired.fired_at)
        scores = hidden[:0]
        decoder_fsmn, decoder_kv = state.decoder_fsmn_cache[:0], state.decoder_kv_cache[:0]
        if len(rows):
            scores, decoder_fsmn, decoder_kv = self._decode(fired, hidden, rows, batch)
            best = scores.float().log_softmax(dim=1).max(dim=1)
            places = state.indices(fired.token_mask.flatten())
            tokens.view(-1)[places] = best.indices
            confidences.view(-1)[places] = self._paraformer.confidences(best.values.exp())

        update = StateUpdate(
            slots=batch.slots * batch.commit,
            first=batch.first,
            commit=commit,
            chunk=chunk,
            encoder_kv=encoder_kv,
            fired=fired,
            decoded=rows[state.indices(batch.commit[rows])],
            decoder_fsmn=decoder_fsmn,
            decoder_kv=decoder_kv,
        )
        fired_at = fired.fired_at - config.look_ahead
        return Decoded(fired.counts, tokens, confidences, fired_at, scores, update)

    def _encode(
        self, chunk: Tensor, chunks: Tensor, batch: ChunkBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return hidden frames (B, T, D), CIF's weights (B, T), and the update's `encoder_kv`."""
        config, dtype = self._config, self._paraformer.dtype
        lengths = batch.lengths + config.look_ahead  # (B,)
        frame = torch.arange(config.frames, device=chunk.device)[None, :]  # (1, T)
        exists = frame < lengths[:, None]  # (B, T)
        place = torch.arange(config.cache_frames, device=chunk.device)[None, :]
        cached = place < (chunks * config.stride)[:, None]  # (B, M)
        key_mask = torch.cat((cached, exists), dim=1)[:, None, None, :]  # (B, 1, 1, M + T)
        context = EncoderContext(
            batch.slots, attention_mask(key_mask), exists[:, :, None].to(dtype)
        )
        kv_cache = self._state.encoder_kv_cache
        encoder_kv = _kv_output(kv_cache, len(chunk), config.stride)
        hidden = self._encoder(chunk.to(dtype), [kv_cache], context, [encoder_kv])
        # Look-ahead frames count only when no later chunk will contain them.
        counted = exists & (batch.whole[:, None] | (frame < config.stride))
        counted &= (batch.slots != DUMMY_SLOT)[:, None]  # or the rows of padding might fire
        return hidden, self._paraformer.predictor(hidden.float()) * counted, encoder_kv

    def _decode(
        self, fired: Fired, hidden: Tensor, rows: Tensor, batch: ChunkBatch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores, and the update's `decoder_fsmn` and `decoder_kv`, of `rows`."""
        config, state = self._config, self._state
        unpad_index = state.indices(fired.token_mask[rows].flatten())  # (N,)
        commit = state.indices(batch.commit[rows])
        order = torch.arange(config.decoder_kernel - 1, device=hidden.device)
        joined = len(order) + fired.embeddings.shape[1]  # the FSMN's inputs of a row
        # Of rows that commit, the last inputs that are cached or a token: (C, kernel - 1).
        fsmn_index = (commit * joined + fired.counts[rows[commit]])[:, None] + order
        count = len(unpad_index)
        if not state.static:
            rows = pad_to_bucket(rows, ROW_DIGITS)
            unpad_index = pad_to_bucket(unpad_index, TOKEN_DIGITS)
        embeddings = fired.embeddings[rows]  # (B, K, D)
        pad_index = torch.zeros(embeddings.shape[:2], dtype=torch.int64, device=hidden.device)
        pad_index.view(-1)[unpad_index[:count]] = torch.arange(count, device=hidden.device)
        x, hidden = unpad(embeddings, unpad_index).to(hidden.dtype), hidden[rows]
        slots, first = batch.slots[rows], batch.first[rows]
        lengths = batch.lengths[rows] + config.look_ahead
        frame = torch.arange(config.frames, device=hidden.device)[None, :]
        cached = (state.has_fired[slots] & ~first)[:, None].expand(-1, config.stride)
        key_mask = torch.cat((cached, frame < lengths[:, None]), dim=1)[:, None, None, :]
        mask = attention_mask(key_mask)
        context = DecoderContext(
            pad_index, unpad_index, hidden, slots, first, commit, fsmn_index, mask
        )
        caches = [state.decoder_fsmn_cache, state.decoder_kv_cache]
        outputs = self._decoder_outputs(len(commit))
        scores = self._decoder(x, caches, context, outputs)[:count]
        return scores, *outputs

    def _decoder_outputs(self, rows: int) -> list[Tensor]:
        fsmn, kv = self._state.decoder_fsmn_cache, self._state.decoder_kv_cache
        return [fsmn.new_empty((rows, *fsmn.shape[1:])), _kv_output(kv, rows, self._config.stride)]

    # Tracing and warm-up -------------------------------------------------------------------------

    @torch.inference_mode()
    def trace(self) -> None:
        """Run the layers without Python's interpreter from now on; their weights are final."""
        examples = [self._examples(rows, 2 * rows - 1) for rows in (2, 3)]
        encoder, decoder = zip(*examples, strict=True)
        self._encoder.layer_loop = traced(self._encoder.layers, encoder)
        self._decoder.layer_loop = traced(list(self._decoder.decoders), decoder)

    @torch.inference_mode()
    def warm_up(self, max_rows: int) -> None:
        """Run every shape bucket of batches of up to `max_rows`, so that no step compiles later.

        Two layers of the encoder and one of the decoder have all products of a network. Large
        batches come first: what is compiled for smaller ones lies where those computed.
        """
        for rows in reversed(buckets(max_rows, ROW_DIGITS)):
            encoder, decoder = self._examples(rows, 1)
            run_layers(self._encoder.layers[:2], *encoder)
            frames, *_ = encoder
            self._paraformer.predictor(
                frames.new_zeros(*frames.shape[:2], self._config.size).float()
            )
            self._warm_up_decoder(decoder)
        for tokens in reversed(buckets(max_rows * WARM_UP_TOKENS, TOKEN_DIGITS)):
            self._warm_up_decoder(self._examples(1, tokens)[1])

    def _warm_up_decoder(self, example: Example) -> None:
        self._decoder.output_layer(run_layers(self._decoder.decoders[:1], *example))

    def _examples(self, rows: int, tokens: int) -> tuple[Example, Example]:
        """Return the encoder's and the decoder's arguments; all rows but one commit."""
        config, dtype, state = self._config, self._paraformer.dtype, self._state
        slots, commit = torch.arange(rows), torch.arange(rows - 1)
        first = slots == 0
        fsmn_index = torch.arange(config.decoder_kernel - 1).expand(rows - 1, -1)
        frames = torch.randn(rows, config.frames, FEATURES).to(dtype)
        hidden = torch.randn(rows, config.frames, config.size).to(dtype)
        most = math.ceil(tokens / rows)
        pad_index = torch.arange(rows * most).clamp(max=tokens - 1).view(rows, most)
        x = torch.randn(tokens, config.size).to(dtype)
        frame_mask = torch.ones(rows, config.frames, 1, dtype=dtype)
        encoder_mask, decoder_mask = (
            torch.zeros(rows, 1, 1, cached + config.frames)
            for cached in (config.cache_frames, config.stride)
        )
        encoder = EncoderContext(slots, encoder_mask, frame_mask)
        decoder = DecoderContext(
            pad_index, torch.arange(tokens), hidden, slots, first, commit, fsmn_index, decoder_mask
        )
        kv_cache = state.encoder_kv_cache
        caches = [state.decoder_fsmn_cache, state.decoder_kv_cache]
        return (
            (frames, [kv_cache], list(encoder), [_kv_output(kv_cache, rows, config.stride)]),
            (x, caches, list(decoder), self._decoder_outputs(rows - 1)),
        )


def _kv_output(kv_cache: Tensor, rows: int, frames: int) -> Tensor:
    """Return an unwritten tensor like `kv_cache` (slots, L, 2, H, _, E), of other sizes."""
    _, layers, parts, heads, _, width = kv_cache.shape
    return kv_cache.new_empty((rows, layers, parts, heads, frames, width))
