"""The sizes of a streaming Paraformer, read from FunASR's configuration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
    label_smoothing: float
    """What training took from the right token, so that no posterior exceeds the rest."""
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

    @property
    def most_tokens(self) -> int:
        """Tokens that a chunk can fire at most: every frame full, behind an almost full rest."""
        frame = self.cif_smooth - self.cif_noise
        return math.floor(1 + (self.frames * frame + self.cif_tail) / self.cif_threshold)

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
        encoder_kernel = encoder.get("kernel_size", 11)
        _require(
            encoder.get("sanm_shfit", 0) == 0 and encoder_kernel % 2 == 1,
            "the encoder's FSMN does not look as far ahead as back",
        )
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
            encoder_kernel=encoder_kernel,
            decoder_units=decoder["linear_units"],
            decoder_layers=decoder["num_blocks"],
            decoder_kernel=kernel,
            cif_left=predictor.get("l_order", 1),
            cif_right=predictor.get("r_order", 1),
            cif_threshold=predictor.get("threshold", 1.0),
            cif_smooth=predictor.get("smooth_factor", 1.0),
            cif_noise=predictor.get("noise_threshold", 0.0),
            cif_tail=predictor.get("tail_threshold", 0.45),
            label_smoothing=config.get("model_conf", {}).get("lsm_weight", 0.0),
            stride=stride,
            look_ahead=look_ahead,
        )


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(f"this model cannot be streamed here: {why}")
