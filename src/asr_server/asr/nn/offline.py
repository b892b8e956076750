"""Define the offline Paraformer: encoder, predictor and decoder of whole sentences.

The network is FunASR's `BiCifParaformer` (Shi et al., "Achieving Timestamp Prediction While
Recognizing with Non-Autoregressive End-to-End ASR Model", 2023) with the same parameter names. It
has the layers of the streaming one, without caches: every frame attends to all of its sentence.
Frames and tokens past a row's length are masked everywhere, so a row never depends on its
neighbours.

Letters of shapes: B rows, T frames, K tokens of a row, N of all rows, D model size, H heads, U
upsampling; keys and values as in `sanm`.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr_server.asr.nn.config import OfflineConfig
from asr_server.asr.nn.frontend import FEATURES
from asr_server.asr.nn.ops import pad, unpad
from asr_server.asr.nn.paraformer import (
    CrossAttention,
    Decoder,
    Encoder,
    NormalisedFeedForward,
    Predictor,
    TokenFsmn,
)
from asr_server.asr.nn.sanm import (
    LAYER_NORM_EPS,
    EncoderLayer,
    attention_mask,
    contiguous,
    positions,
)


class OfflineEncoderLayer(EncoderLayer):
    """Run a SAN-M layer on whole sentences."""

    def __init__(self, config: OfflineConfig, inputs: int) -> None:
        super().__init__(
            inputs,
            config.size,
            config.heads,
            config.encoder_units,
            config.encoder_kernel,
            fixed_frames=False,
        )
        self.attention_dtype = torch.float32

    def forward(  # type: ignore[override]
        self, x: Tensor, mask: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor]:
        """Return the output (B, T, D) of `x` (B, T, inputs); see `FsmnAttention.forward`."""
        x, _ = super().forward(x, None, mask, frame_mask, self.attention_dtype)
        return (x,)


class OfflineDecoderContext(NamedTuple):
    """Hold what the decoder's layers share."""

    pad_index: Tensor  # (B, K) int64, see `ops.pad`
    unpad_index: Tensor  # (N,) int64, see `ops.unpad`
    token_mask: Tensor  # (B, K, 1) 1 where a token exists
    hidden: Tensor  # (B, T, D) of the encoder
    attention_mask: Tensor  # (B, 1, 1, T)


class OfflineDecoderLayer(nn.Module):
    """Apply feed-forward, FSMN over tokens, and attention to the frames of the sentence."""

    def __init__(self, size: int, heads: int, units: int, kernel: int) -> None:
        super().__init__()
        self._margin = kernel // 2
        self.attention_dtype = torch.float32
        self.feed_forward = NormalisedFeedForward(size, units)
        self.self_attn = TokenFsmn(size, kernel)
        self.src_attn = CrossAttention(size, heads)
        self.norm1 = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(size, eps=LAYER_NORM_EPS)
        self.norm3 = nn.LayerNorm(size, eps=LAYER_NORM_EPS)

    def filter(self, x: Tensor) -> Tensor:
        """Return `x` (B, K, D), whose missing tokens must be zero, filtered over tokens."""
        return self.self_attn(x, F.pad(x, (0, 0, self._margin, self._margin)))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, *context: Tensor) -> tuple[Tensor]:
        """Return the output (N, D) of `x` (N, D)."""
        c = OfflineDecoderContext(*context)
        fed = pad(self.norm2(self.feed_forward(self.norm1(x))), c.pad_index) * c.token_mask
        x = x + unpad(self.filter(fed), c.unpad_index)
        key_values = contiguous(self.src_attn.project(c.hidden), self.attention_dtype)
        index = (c.pad_index, c.unpad_index)
        return (x + self.src_attn(self.norm3(x), key_values, *index, c.attention_mask),)


class OfflinePredictor(Predictor):
    """Map hidden frames to CIF's weights, and to finer ones that begin and end tokens.

    FunASR's `CifPredictorV3`. Its transposed convolution has the stride of its kernel: each frame
    becomes U frames by a product.
    """

    def __init__(self, config: OfflineConfig) -> None:
        super().__init__(config)
        size, self._upsampling = config.size, config.upsampling
        self._time_smooth, self._time_noise = config.time_smooth, config.time_noise
        self.upsample_cnn = nn.ConvTranspose1d(size, size, config.upsampling, config.upsampling)
        self.blstm = nn.LSTM(size, size, batch_first=True, bidirectional=True)
        self.cif_output2 = nn.Linear(2 * size, 1)

    def time_weights(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Return weights (B, U * T) of `hidden` (B, T, D), zero past `lengths` (B,) frames."""
        weight = self.upsample_cnn.weight.permute(2, 1, 0).flatten(0, 1)  # (U * D, D)
        assert self.upsample_cnn.bias is not None
        bias = self.upsample_cnn.bias.repeat(self._upsampling)
        fine = F.linear(hidden, weight, bias).view(len(hidden), -1, hidden.shape[2])
        ends = lengths * self._upsampling
        exists = torch.arange(fine.shape[1], device=fine.device) < ends[:, None]  # (B, U * T)
        recur = self.recur if fine.device.type == "cpu" else self.recur_packed
        weights = self.cif_output2(recur(fine, ends)).sigmoid().squeeze(2)
        return (weights * self._time_smooth - self._time_noise).relu() * exists  # type: ignore[no-any-return]

    def recur_packed(self, x: Tensor, ends: Tensor) -> Tensor:
        """Return what `recur` returns, by cuDNN's bidirectional LSTM; waits for the device."""
        packed = pack_padded_sequence(x, ends.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.blstm(packed)[0], True, total_length=x.shape[1])[0]

    def recur(self, x: Tensor, ends: Tensor) -> Tensor:
        """Return the outputs (B, T, 2 D) of the first `ends` (B,) places of `x` (B, T, D)."""
        place = torch.arange(x.shape[1], device=x.device)
        last = ends[:, None] - 1
        backwards = torch.where(place <= last, last - place, place)[:, :, None].expand_as(x)
        return torch.cat(
            (
                self._recur(x, ""),
                self._recur(x.gather(1, backwards), "_reverse").gather(1, backwards),
            ),
            dim=2,
        )

    def _recur(self, x: Tensor, direction: str) -> Tensor:
        """Return the outputs of one direction of the BLSTM, which goes forwards over `x` (B, T, D).

        What follows a row's end does not reach it. On packed sequences, where each row would also
        end where it does, PyTorch has no compiled LSTM.
        """
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self.blstm, f"{name}_l0{direction}") for name in names]
        nothing = x.new_zeros(1, x.shape[0], x.shape[2])
        options = (True, 1, 0.0, False, False, True)  # bias, layers, dropout, ..., batch first
        outputs: Tensor = torch.lstm(x, (nothing, nothing), weights, *options)[0]
        return outputs


class OfflineParaformer(nn.Module):
    """Hold the parts of the network that recognise without hotwords."""

    def __init__(self, config: OfflineConfig) -> None:
        super().__init__()
        self.config = config
        layer = partial(OfflineEncoderLayer, config)
        self.encoder = Encoder(layer, config.encoder_layers, config.size)
        self.predictor = OfflinePredictor(config)
        sizes = (config.size, config.heads, config.decoder_units, config.decoder_kernel)
        layers = (OfflineDecoderLayer(*sizes) for _ in range(config.decoder_layers))
        self.decoder = Decoder(layers, config.size, config.decoder_units, config.vocabulary)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the activations between layers."""
        return self.encoder.after_norm.weight.dtype

    def encode(self, features: Tensor, frame_mask: Tensor) -> Tensor:
        """Return the hidden frames (B, T, D) of `features` (B, T, 560), zero where none exists.

        `frame_mask` (B, T) holds where a frame exists.
        """
        place = torch.arange(1, features.shape[1] + 1, device=features.device)
        x = features * math.sqrt(self.config.size) + positions(place, FEATURES)
        mask = attention_mask(frame_mask[:, None, None, :])
        context = [mask, frame_mask[:, :, None].to(self.dtype)]
        return self.encoder(x.to(self.dtype), [], context, [])  # type: ignore[no-any-return]

    def confidences(self, posteriors: Tensor) -> Tensor:
        """Return `posteriors` relative to the largest that label smoothing allows, at most 1."""
        return (posteriors / (1.0 - self.config.label_smoothing)).clamp(max=1.0)
