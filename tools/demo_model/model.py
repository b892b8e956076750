"""A batched forward pass over FunASR's own modules that equals its streaming inference.

FunASR recognises one stream at a time and trains on another layout than it serves.  Here the
chunks of a whole batch go through the same weights at once, each seeing what it would see when
streamed: its look-ahead, four chunks of keys before it, and for the decoder the last chunk that
produced a token.  `verify.py` compares the two.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import TAIL, WIDTH, create
from .streaming_layout import Layout


@dataclass(frozen=True, slots=True)
class Encoded:
    """hidden: [batch, positions, width], zero where no frame is; alphas: [batch, positions]."""

    hidden: Tensor
    alphas: Tensor


@dataclass(frozen=True, slots=True)
class Fired:
    """Acoustic embeddings [batch, tokens, width], and in which chunk each fired [batch, tokens]."""

    embeddings: Tensor
    chunks: Tensor


def _memory(values: Tensor, weight: Tensor) -> Tensor:
    """FSMN inside chunks: a depthwise convolution as one small band matrix per channel.

    values: [chunks, width, channels], zero outside; weight: [channels, 1, kernel].
    """
    width = values.shape[1]
    reach = weight.shape[2] // 2
    place = torch.arange(width)
    tap = place[None, :] - place[:, None] + reach
    band = weight[:, 0, tap.clamp(0, weight.shape[2] - 1)]
    band = band * ((tap >= 0) & (tap < weight.shape[2]))
    return torch.einsum("njd,dij->nid", values, band)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Scaled dot product attention of [n, queries, width] to [n, keys, width].

    Plain batched products: their bfloat16 backward pass is twice as fast on processors as the
    fused kernel's.  mask: [n, 1, 1 or queries, keys].
    """
    return weighted_sum(attention_weights(query, key, heads, mask), value)


def attention_weights(query: Tensor, key: Tensor, heads: int, mask: Tensor) -> Tensor:
    """The weights [n, heads, queries, keys] of `attend`, in float32."""
    query, key = _heads(query, heads), _heads(key, heads)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return scores.float().masked_fill(~mask, -1e30).softmax(-1)


def weighted_sum(weights: Tensor, value: Tensor) -> Tensor:
    """The sums of values that `attention_weights` ask for."""
    value = _heads(value, weights.shape[1])
    return (weights.to(value.dtype) @ value).transpose(-2, -3).flatten(-2)


class DemoModel(nn.Module):
    """The Paraformer, and what only training needs: frame classifier and sampler's embedding."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.paraformer = create(tokens)
        self.frame_head = nn.Linear(WIDTH, tokens)
        self.embedding = nn.Embedding(tokens, WIDTH)

    def encode(self, layout: Layout) -> Encoded:
        """Encoder and predictor over all chunks."""
        encoder = self.paraformer.encoder
        mask = self._attention_mask(layout)
        x = layout.chunks.flatten(0, 1)
        valid = layout.valid.flatten(0, 1)[..., None]
        for layer in [*encoder.encoders0, *encoder.encoders]:
            attended = self._attend(layer.self_attn, layer.norm1(x), valid, layout, mask)
            x = x + attended if layer.in_size == layer.size else attended
            x = x + layer.feed_forward(layer.norm2(x))
        hidden = encoder.after_norm(x.float()) * valid
        alphas = self._alphas(hidden) * layout.centre.flatten(0, 1)
        batch = layout.chunks.shape[0]
        return Encoded(hidden.reshape(batch, -1, WIDTH), alphas.reshape(batch, -1))

    def _attention_mask(self, layout: Layout) -> Tensor:
        """Keys each chunk may use, [batch * chunks, 1, 1, keys]: look-back first, then its own."""
        batch, count, _ = layout.valid.shape
        back = layout.point.encoder_look_back
        age = torch.arange(count)[:, None] - back + torch.arange(back)[None, :]
        exists = (age >= 0).repeat_interleave(layout.point.stride, 1)
        # A chunk past the end of its utterance may see itself, lest its softmax have no key.
        own = layout.valid | ~layout.valid.any(2, keepdim=True)
        mask = torch.cat([exists.expand(batch, -1, -1), own], 2)
        return mask.flatten(0, 1)[:, None, None, :]

    @staticmethod
    def _attend(attention, x: Tensor, valid: Tensor, layout: Layout, mask: Tensor) -> Tensor:  # noqa: ANN001
        query, key, value = attention.linear_q_k_v(x).chunk(3, -1)
        kept = value * valid
        memory = _memory(kept, attention.fsmn_block.weight.to(kept.dtype)) + kept
        batch, count, _ = layout.valid.shape
        stride, back = layout.point.stride, layout.point.encoder_look_back

        def with_look_back(y: Tensor) -> Tensor:
            y = y.unflatten(0, (batch, count))
            older = F.pad(y[:, :, :stride], (0, 0, 0, 0, back, 0))
            pieces = [older[:, i : i + count] for i in range(back)]
            return torch.cat([*pieces, y], 2).flatten(0, 1)

        attended = attend(query, with_look_back(key), with_look_back(value), attention.h, mask)
        return attention.linear_out(attended) + memory

    def _alphas(self, hidden: Tensor) -> Tensor:
        predictor = self.paraformer.predictor
        padded = F.pad(hidden, (0, 0, 1, 1))
        windows = torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], 2)
        weight = predictor.cif_conv1d.weight.permute(0, 2, 1).flatten(1)
        mixed = torch.relu(F.linear(windows, weight, predictor.cif_conv1d.bias))
        return torch.sigmoid(predictor.cif_output(mixed).float()).squeeze(-1)

    @staticmethod
    def fire(hidden: Tensor, alphas: Tensor, tokens: int, width: int) -> Fired:
        """Integrate and fire for the first `tokens` tokens of each utterance, in one product.

        Token n gathers what lies between n and n + 1 of the running sum of alphas; it fires where
        the sum reaches n + 1.
        """
        reached = alphas.double().cumsum(1)
        before = reached - alphas
        number = torch.arange(tokens)[None, :, None]
        overlap = torch.minimum(reached[:, None], number + 1.0) - torch.maximum(
            before[:, None], number.double()
        )
        embeddings = overlap.clamp(min=0).float() @ hidden
        position = (reached[:, None] < number + 1.0 - 1e-6).sum(2)
        chunks = position.clamp(max=alphas.shape[1] - 1) // width
        return Fired(embeddings, chunks)

    def decode(
        self, embeddings: Tensor, chunks: Tensor, encoded: Encoded, layout: Layout
    ) -> Tensor:
        """Logits [batch, tokens, vocabulary] of tokens that fired in the given chunks."""
        decoder = self.paraformer.decoder
        mask = self._cross_mask(chunks, layout)
        x = embeddings
        for layer in decoder.decoders:
            inner = layer.norm2(layer.feed_forward(layer.norm1(x)))
            x = x + self._token_memory(layer.self_attn, inner)
            attention = layer.src_attn
            query = attention.linear_q(layer.norm3(x))
            key, value = attention.linear_k_v(encoded.hidden).chunk(2, -1)
            x = x + attention.linear_out(attend(query, key, value, attention.h, mask))
        for layer in decoder.decoders3:
            x = layer.feed_forward(layer.norm1(x))
        return decoder.output_layer(decoder.after_norm(x)).float()

    @staticmethod
    def _token_memory(attention, x: Tensor) -> Tensor:  # noqa: ANN001
        kernel = attention.kernel_size
        padded = F.pad(x.float().transpose(1, 2), (kernel - 1, 0))
        weight = attention.fsmn_block.weight.float()
        mixed = F.conv1d(padded, weight, groups=weight.shape[0]).transpose(1, 2)
        return mixed.to(x.dtype) + x

    @staticmethod
    def _cross_mask(chunks: Tensor, layout: Layout) -> Tensor:
        """Keys of each token: its chunk, and the tail of the last chunk before that fired.

        chunks: [batch, tokens], not decreasing -> [batch, 1, tokens, positions].
        """
        batch, count, width = layout.valid.shape
        earlier = F.pad(chunks[:, :-1], (1, 0), value=-1)
        changed = torch.where(earlier < chunks, earlier, torch.full_like(earlier, -1))
        previous = changed.cummax(1).values if chunks.shape[1] else changed
        key_chunk = torch.arange(count).repeat_interleave(width)
        kept = layout.point.decoder_look_back * layout.point.stride
        in_tail = (torch.arange(width) >= width - kept).repeat(count)
        own = chunks[:, :, None] == key_chunk
        look_back = (previous[:, :, None] == key_chunk) & in_tail
        mask = (own | look_back) & layout.valid.flatten(1)[:, None]
        # A token of padding may look anywhere, lest its softmax have no key.
        mask = mask | ~mask.any(2, keepdim=True)
        return mask[:, None]

    @torch.inference_mode()
    def transcribe(self, layout: Layout) -> list[list[int]]:
        """Greedy token ids of each utterance, as streaming would give them."""
        encoded = self.encode(layout)
        total = encoded.alphas.double().sum(1) + TAIL
        counts = (total + 1e-6).floor().long()
        most = int(counts.max())
        if most == 0:
            return [[] for _ in counts]
        width = layout.point.width
        fired = self.fire(encoded.hidden, encoded.alphas, most, width)
        # What the tail completes fires with the last chunk.
        chunks = torch.minimum(fired.chunks, layout.last[:, None])
        ids = self.decode(fired.embeddings, chunks, encoded, layout).argmax(2)
        return [row[:count].tolist() for row, count in zip(ids, counts.tolist(), strict=True)]
