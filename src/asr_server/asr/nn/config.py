"""Define the sizes of the recogniser's networks."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkSizes:
    """Hold what a streaming and an offline Paraformer have in common; `loading.config` reads it."""

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
    label_smoothing: float
    """The probability that training took from the right token: no posterior exceeds the rest."""


@dataclass(frozen=True, slots=True)
class ParaformerConfig(NetworkSizes):
    """Hold the sizes of a streaming model and its operating point."""

    stride: int
    """New frames of a chunk."""
    look_ahead: int
    """Frames of a chunk that are only context; the next chunk decodes them."""
    encoder_look_back: int = 4
    """Chunks in the encoder's KV cache."""

    @property
    def frames(self) -> int:
        """Return the frames of a whole chunk."""
        return self.stride + self.look_ahead

    @property
    def cache_frames(self) -> int:
        """Return the frames in the encoder's KV cache."""
        return self.encoder_look_back * self.stride

    @property
    def max_tokens(self) -> int:
        """Return the tokens of a chunk whose frames are all full, behind an almost full rest."""
        frame = self.cif_smooth - self.cif_noise
        return math.floor(1 + (self.frames * frame + self.cif_tail) / self.cif_threshold)


@dataclass(frozen=True, slots=True)
class BiasConfig:
    """Hold the sizes of the hotword part of an offline model (SeACo)."""

    layers: int
    heads: int
    units: int
    kernel: int
    end: int
    """Token that ends every list: it stands for "none of these words"."""
    no_bias: int
    """Token by which this part leaves a position to the decoder."""


@dataclass(frozen=True, slots=True)
class OfflineConfig(NetworkSizes):
    """Hold the sizes of an offline model."""

    upsampling: int
    """Frames of the timestamp head in each frame of the encoder."""
    time_smooth: float
    time_noise: float
    bias: BiasConfig | None = None
    """None without a hotword part."""
