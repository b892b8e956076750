"""Define the part of an offline Paraformer that recognises the words of a list (SeACo).

The network is FunASR's `SeacoParaformer` (Shi et al., "SeACo-Paraformer", 2024) with the same
parameter names. A second decoder attends from the tokens to the words of a list. Where it finds
none of them it says so (`no_bias`), and the token of the first decoder stands.

Sentences are computed one by one: each has its own list, and of a long list its own words (in a
batch FunASR gives all sentences the words of the first).

Letters of shapes: K tokens of a sentence, V vocabulary, W words with the list's end, S tokens of
the longest word, L layers, D model size, H heads, E = D / H.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from asr_server.asr.nn.config import BiasConfig, OfflineConfig
from asr_server.asr.nn.offline import OfflineDecoderLayer, OfflineParaformer
from asr_server.asr.nn.ops import cast
from asr_server.asr.nn.paraformer import Decoder
from asr_server.asr.nn.sanm import attend, contiguous, split_heads

KEPT = 50
"""Words of a longer list to which a sentence attends: those with the most attention."""
SCORING_LAYER = 5
"""The layer whose attention chooses them; the last one where there are fewer."""


class BiasList(NamedTuple):
    """Hold a list of words as the hotword decoder reads it."""

    key_values: Tensor  # (2, L, H, W, E)
    strengths: Tensor  # (V,) 0 to 1: how much this decoder counts where it finds the token


class BiasDecoderLayer(OfflineDecoderLayer):
    """Apply feed-forward, FSMN over tokens, and attention to words."""

    def forward(  # type: ignore[override]
        self, x: Tensor, key_values: Tensor, token_mask: Tensor
    ) -> tuple[Tensor]:
        """Return the output (B, K, D) of `x` (B, K, D), with `key_values` (2, H, W, E).

        `token_mask` (K, 1) is 1 where a token exists.
        """
        x = x + self._fed(x, token_mask)
        query = self._query(x, key_values.dtype)
        no_mask = torch.zeros(1, 1, 1, key_values.shape[2], device=x.device)
        attended = attend(query, key_values[:, None], no_mask, x.dtype)  # (1, B * K, D)
        return (x + self.src_attn.linear_out(attended.view(x.shape)),)

    def attention(self, x: Tensor, key_values: Tensor, token_mask: Tensor) -> Tensor:
        """Return how much all tokens of `x` (1, K, D) attend to each word, (W,)."""
        query = self._query(x + self._fed(x, token_mask), torch.float32).squeeze(0)  # (H, K, E)
        keys = key_values[0].float()
        scores = torch.bmm(query, keys.transpose(1, 2)) * query.shape[2] ** -0.5  # (H, K, W)
        attention: Tensor = (scores.softmax(dim=2) * token_mask).sum(dim=(0, 1))
        return attention

    def _fed(self, x: Tensor, token_mask: Tensor) -> Tensor:
        return self.filter(self.norm2(self.feed_forward(self.norm1(x))) * token_mask)

    def _query(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the queries (1, H, B * K, E) of `x` (B, K, D)."""
        queries = self.src_attn.linear_q(self.norm3(x)).view(1, -1, x.shape[2])
        return contiguous(split_heads(queries, 1, self.src_attn.heads)[0], dtype)


class SeacoParaformer(OfflineParaformer):
    """Hold an offline Paraformer and its hotword part."""

    def __init__(self, config: OfflineConfig, bias: BiasConfig) -> None:
        super().__init__(config)
        size, self._bias = config.size, bias
        self.decoder.embed = nn.ModuleList([nn.Embedding(config.vocabulary, size)])
        self.bias_encoder = nn.LSTM(size, size, num_layers=2, batch_first=True)
        layers = (
            BiasDecoderLayer(size, bias.heads, bias.units, bias.kernel) for _ in range(bias.layers)
        )
        self.seaco_decoder = Decoder(layers, size, bias.units, vocabulary=0)
        self.hotword_output_layer = nn.Linear(size, config.vocabulary)

    @property
    def _layers(self) -> list[BiasDecoderLayer]:
        return list(self.seaco_decoder.decoders)  # type: ignore[arg-type]

    def read_list(self, words: list[list[int]], strengths: Tensor) -> BiasList:
        """Return a list of words, each the ids of its tokens; `strengths` as of `BiasList`."""
        device = strengths.device
        rows = [torch.tensor(word, device=device) for word in (*words, [self._bias.end])]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (W, S)
        last = torch.tensor([len(row) - 1 for row in rows], device=device)
        embedded = self.decoder.get_submodule("embed.0")(tokens).float()
        outputs, _ = self.bias_encoder(embedded)
        # The LSTM goes forwards: what follows a word's last token does not reach it.
        read = outputs[torch.arange(len(rows), device=device), last][None].to(self.dtype)
        key_values = [
            contiguous(layer.src_attn.project(read), layer.attention_dtype).squeeze(1)
            for layer in self._layers
        ]
        return BiasList(torch.stack(key_values, dim=1), strengths)

    def merge(self, log_posteriors: Tensor, inputs: Tensor, words: BiasList) -> Tensor:
        """Return a sentence's `log_posteriors` (K, V) with the words of the list.

        `inputs` (2, K or more, D) are the inputs of the first decoder and, as of `Decoder.hidden`,
        its outputs.
        """
        count = len(log_posteriors)
        token_mask = (torch.arange(inputs.shape[1], device=inputs.device) < count)[:, None]
        token_mask = token_mask.to(inputs.dtype)
        key_values = words.key_values
        if key_values.shape[3] > KEPT:
            key_values = self._chosen(inputs[1:], key_values, token_mask)
        found = self.seaco_decoder.hidden(inputs, [key_values], [token_mask], [])
        logits = self.hotword_output_layer(found.sum(dim=0))[:count]
        biased = cast(logits, torch.float32).log_softmax(dim=1)
        best = biased.argmax(dim=1)  # (K,)
        strength = (words.strengths[best] * (best != self._bias.no_bias))[:, None]
        return log_posteriors * (1 - strength) + biased * strength

    def _chosen(self, x: Tensor, key_values: Tensor, token_mask: Tensor) -> Tensor:
        """Return the keys and values of the `KEPT` words that matter most, and of the end."""
        layers = self._layers
        layer = min(SCORING_LAYER, len(layers) - 1)
        for number in range(layer):
            (x,) = layers[number](x, key_values[:, number], token_mask)
        attention = layers[layer].attention(x, key_values[:, layer], token_mask)
        end = key_values.new_tensor([key_values.shape[3] - 1], dtype=torch.int64)
        # The end may be among them: it then has twice the attention, as in FunASR.
        return key_values.index_select(3, torch.cat((attention.topk(KEPT).indices, end)))
