"""Read the sizes of a streaming Paraformer from FunASR's configuration."""

from collections.abc import Mapping
from typing import Any

from asr_server.asr.nn.config import ParaformerConfig


def paraformer_config(
    config: Mapping[str, Any], vocabulary: int, chunk_size: tuple[int, int, int]
) -> ParaformerConfig:
    """Return the sizes in FunASR's `config.yaml`; raises `ValueError` if it cannot be streamed."""
    encoder, decoder = config["encoder_conf"], config["decoder_conf"]
    predictor = config["predictor_conf"]
    left, stride, look_ahead = chunk_size
    _require(left == 0, "chunk_size must begin with 0: no left context is recomputed")
    _require(config.get("model") == "ParaformerStreaming", "the model is no ParaformerStreaming")
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
    return ParaformerConfig(
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
