"""Define the sizes of a streaming Paraformer."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParaformerConfig:
    """Hold the sizes of a model and its operating point; `loading.config` reads them."""

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
