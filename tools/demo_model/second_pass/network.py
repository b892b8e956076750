"""A batched forward pass over FunASR's offline modules, for training on a processor.

A whole utterance is laid out as one chunk without look-ahead, so batches, labels and losses are
those of the streaming model. `verify.py` compares the pass with FunASR's own inference.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.demo_model.architecture import TAIL, WIDTH
from tools.demo_model.model import (
    DemoModel,
    Encoded,
    Fired,
    attend,
    attention_weights,
    weighted_sum,
)
from tools.demo_model.streaming_layout import Layout

from .architecture import create


def memory(values: Tensor, weight: Tensor) -> Tensor:
    """FSMN as a sum of shifted products, whose backward pass is quicker than a convolution's.

    values: [batch, time, channels], zero outside; weight: [channels, 1, kernel], as far ahead as
    back.
    """
    taps = weight[:, 0].to(values.dtype).unbind(1)
    reach = len(taps) // 2
    padded = F.pad(values, (0, 0, reach, reach))
    time = values.shape[1]
    total = padded[:, :time] * taps[0]
    for shift, tap in enumerate(taps[1:], 1):
        total = total + padded[:, shift : shift + time] * tap
    return total


class OfflineModel(DemoModel):
    """The offline Paraformer, and what only training needs."""

    def __init__(self, tokens: int) -> None:
        nn.Module.__init__(self)
        self.paraformer = create(tokens)
        self.frame_head = nn.Linear(WIDTH, tokens)
        self.embedding = nn.Embedding(tokens, WIDTH)

    def encode(self, layout: Layout) -> Encoded:
        """Encoder and predictor over whole utterances."""
        encoder = self.paraformer.encoder
        x = layout.chunks.flatten(0, 1)
        valid = layout.valid.flatten(0, 1)
        mask, real = valid[:, None, None, :], valid[..., None]
        for layer in [*encoder.encoders0, *encoder.encoders]:
            attention = layer.self_attn
            query, key, value = attention.linear_q_k_v(layer.norm1(x)).chunk(3, -1)
            kept = value * real
            inner = memory(kept, attention.fsmn_block.weight) + kept
            inner = inner + attention.linear_out(attend(query, key, value, attention.h, mask))
            x = x + inner if layer.in_size == layer.size else inner
            x = x + layer.feed_forward(layer.norm2(x))
        hidden = encoder.after_norm(x.float()) * real
        return Encoded(hidden, self._alphas(hidden) * valid)

    @staticmethod
    def fire(hidden: Tensor, alphas: Tensor, tokens: int, width: int) -> Fired:
        """Integrate and fire; what has not fired completely is padding, with a row of zeros."""
        fired = DemoModel.fire(hidden, alphas, tokens, width)
        complete = alphas.double().sum(1, keepdim=True) > torch.arange(tokens)[None, :] + 1 - 1e-5
        return Fired(fired.embeddings * complete[..., None], fired.chunks)

    def decode(
        self, embeddings: Tensor, chunks: Tensor, encoded: Encoded, layout: Layout
    ) -> Tensor:
        """Logits of the tokens in `embeddings`; those of padding are zero."""
        return self.paraformer.decoder.output_layer(
            self.hidden(embeddings, encoded, layout)
        ).float()

    def hidden(self, embeddings: Tensor, encoded: Encoded, layout: Layout) -> Tensor:
        """Decoder outputs [batch, tokens, width] before the output layer."""
        decoder = self.paraformer.decoder
        mask = layout.valid.flatten(1)[:, None, None, :]
        return decode_layers(decoder, embeddings, encoded.hidden, mask)

    @torch.inference_mode()
    def transcribe(self, layout: Layout) -> list[list[int]]:
        """Greedy token ids of each utterance."""
        encoded = self.encode(layout)
        counts = (encoded.alphas.double().sum(1) + TAIL + 1e-6).floor().long()
        most = int(counts.max())
        if most == 0:
            return [[] for _ in counts]
        fired = DemoModel.fire(encoded.hidden, encoded.alphas, most, layout.point.width)
        real = torch.arange(most)[None, :] < counts[:, None]
        embeddings = fired.embeddings * real[..., None]
        ids = self.decode(embeddings, fired.chunks, encoded, layout).argmax(2)
        return [row[:count].tolist() for row, count in zip(ids, counts.tolist(), strict=True)]


def decode_layers(
    decoder: nn.Module, x: Tensor, keys: Tensor, mask: Tensor, seen: list[Tensor] | None = None
) -> Tensor:
    """A Paraformer decoder: x [batch, tokens, width] attends to keys where `mask` is true.

    Tokens whose row in `x` is zero are padding: no other token's FSMN sees them. `seen` gets the
    attention [batch, heads, tokens, keys] of each layer.
    """
    real = (x != 0).any(-1, keepdim=True)
    for layer in decoder.decoders:
        inner = layer.norm2(layer.feed_forward(layer.norm1(x))) * real
        x = x + (memory(inner, layer.self_attn.fsmn_block.weight) + inner) * real
        source = layer.src_attn
        key, value = source.linear_k_v(keys).chunk(2, -1)
        weights = attention_weights(source.linear_q(layer.norm3(x)), key, source.h, mask)
        if seen is not None:
            seen.append(weights)
        x = x + source.linear_out(weighted_sum(weights, value))
    for layer in decoder.decoders3:
        x = layer.feed_forward(layer.norm1(x))
    return decoder.after_norm(x)
