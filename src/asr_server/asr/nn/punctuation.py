"""Define the punctuation network: tokens of whole sentences to scores of marks.

The network is FunASR's `CTTransformerStreaming` (Chen et al., "Controllable Time-Delay
Transformer", 2020) with the same parameter names. Sentences are complete here, so in the last layer
every token attends to all of them (`vad_mask` without a cut), and no mark waits for the next call.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from asr_server.asr.nn.sanm import LAYER_NORM_EPS, EncoderLayer, attention_mask, positions


class _Encoder(nn.Module):
    def __init__(self, inputs: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        size = config["output_size"]

        def layer(inputs: int) -> EncoderLayer:
            return EncoderLayer(
                inputs,
                size,
                config["attention_heads"],
                config["linear_units"],
                config.get("kernel_size", 11),
                config.get("sanm_shfit", 0),
                fixed_frames=False,
            )

        self.encoders0 = nn.ModuleList([layer(inputs)])
        self.encoders = nn.ModuleList(layer(size) for _ in range(config["num_blocks"] - 1))
        self.after_norm = nn.LayerNorm(size, eps=LAYER_NORM_EPS)


class PunctuationModel(nn.Module):
    """Map tokens to scores of the mark after each; `config` is FunASR's `config.yaml`."""

    def __init__(self, vocabulary: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        inputs, marks = config["model_conf"]["embed_unit"], config["model_conf"]["punc_list"]
        self._size = config["encoder_conf"]["output_size"]
        self.embed = nn.Embedding(vocabulary, inputs)
        self.encoder = _Encoder(inputs, config["encoder_conf"])
        self.decoder = nn.Linear(self._size, len(marks))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return scores (B, T, marks) of the ids `tokens` (B, T), the first `lengths` (B,) real."""
        place = torch.arange(tokens.shape[1], device=tokens.device)
        token_mask = place[None, :] < lengths[:, None]  # (B, T)
        all_tokens = token_mask[:, None, None, :]  # (B, 1, 1, T)
        up_to_own = all_tokens & (place[None, :] <= place[:, None])  # (B, 1, T, T)
        x = self.embed(tokens)
        x = x * self._size**0.5 + positions(place + 1, x.shape[2])
        frame_mask = token_mask[:, :, None].to(x.dtype)
        *layers, last = *self.encoder.encoders0, *self.encoder.encoders
        for layer in layers:
            x, _ = layer(x, None, attention_mask(up_to_own), frame_mask)
        x, _ = last(x, None, attention_mask(all_tokens), frame_mask)
        return self.decoder(self.encoder.after_norm(x))  # type: ignore[no-any-return]
