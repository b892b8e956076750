"""Read the sizes of a Paraformer from FunASR's configuration."""

from collections.abc import Mapping
from typing import Any

from asr_server.asr.nn.config import BiasConfig, OfflineConfig, ParaformerConfig

OFFLINE = ("BiCifParaformer", "SeacoParaformer")
"""Classes of offline models; the second has a hotword part."""


def paraformer_config(
    config: Mapping[str, Any], vocabulary: int, chunk_size: tuple[int, int, int]
) -> ParaformerConfig:
    """Return the sizes in FunASR's `config.yaml`; raises `ValueError` if it cannot be streamed."""
    left, stride, look_ahead = chunk_size
    _require(left == 0, "chunk_size must begin with 0: no left context is recomputed")
    _require(config.get("model") == "ParaformerStreaming", "the model is no ParaformerStreaming")
    _require(
        config.get("encoder") == "SANMEncoderChunkOpt", "the encoder is no SANMEncoderChunkOpt"
    )
    decoder = config["decoder_conf"]
    _require(
        decoder.get("att_layer_num", 6) == decoder["num_blocks"],
        "the decoder has layers without attention",
    )
    kernel = decoder.get("kernel_size", 21)
    shift = decoder.get("sanm_shfit")
    shift = (kernel - 1) // 2 if shift is None else shift
    _require((kernel - 1) // 2 + shift == kernel - 1, "the decoder's FSMN looks ahead")
    return ParaformerConfig(**_sizes(config, vocabulary), stride=stride, look_ahead=look_ahead)


def offline_config(config: Mapping[str, Any], vocabulary: int) -> OfflineConfig:
    """Return the sizes in FunASR's `config.yaml`; raises `ValueError` for any other model."""
    name = config.get("model")
    if name not in OFFLINE:
        raise ValueError(f"the model is a {name}, not one of {' and '.join(OFFLINE)}")
    predictor = config["predictor_conf"]
    _require(config.get("encoder") == "SANMEncoder", "the encoder is no SANMEncoder")
    _require(config["encoder_conf"].get("input_layer") == "pe", "the encoder adds no positions")
    _require(config.get("predictor") == "CifPredictorV3", "the predictor is no CifPredictorV3")
    _require(
        predictor.get("upsample_type") == "cnn_blstm" and not predictor.get("use_cif1_cnn", True),
        "the timestamp head is no BLSTM over the encoder's frames",
    )
    _require(predictor.get("upsample_times") == 3, "the timestamp head has no frames of 20 ms")
    _symmetric(config["decoder_conf"], "the decoder")
    return OfflineConfig(
        **_sizes(config, vocabulary),
        upsampling=predictor["upsample_times"],
        time_smooth=predictor.get("smooth_factor2", 1.0),
        time_noise=predictor.get("noise_threshold2", 0),
        bias=_bias(config, vocabulary) if name == "SeacoParaformer" else None,
    )


def _bias(config: Mapping[str, Any], vocabulary: int) -> BiasConfig:
    # FunASR's templates have these beside `model_conf` or in it.
    options = {**config.get("model_conf", {}), **config}
    decoder = config["seaco_decoder_conf"]
    _symmetric(decoder, "the hotword decoder")
    _require(
        options.get("bias_encoder_type", "lstm") == "lstm"
        and not options.get("bias_encoder_bid", False)
        and options.get("inner_dim", 256) == config["encoder_conf"]["output_size"],
        "the hotword encoder is no LSTM of the encoder's size",
    )
    no_bias = options.get("NO_BIAS", 8377)
    _require(no_bias < vocabulary, f"NO_BIAS is {no_bias}, with {vocabulary} tokens")
    return BiasConfig(
        # Not `num_blocks`, which the shipped configuration leaves at 4 beside 6 layers.
        layers=decoder.get("att_layer_num", 6),
        heads=decoder.get("attention_heads", 4),
        units=decoder.get("linear_units", 2048),
        kernel=decoder.get("kernel_size", 21),
        end=options.get("sos", 1),
        no_bias=no_bias,
    )


def _symmetric(decoder: Mapping[str, Any], which: str) -> None:
    """Require an FSMN that looks as far ahead as back, and attention in every layer."""
    _require(
        decoder.get("sanm_shfit", 0) == 0 and decoder.get("kernel_size", 21) % 2 == 1,
        f"{which}'s FSMN does not look as far ahead as back",
    )
    _require(
        decoder.get("num_blocks", 6) <= decoder.get("att_layer_num", 6),
        f"{which} has layers without attention",
    )


def _sizes(config: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    """Return the fields of `NetworkSizes`."""
    encoder, decoder = config["encoder_conf"], config["decoder_conf"]
    predictor = config["predictor_conf"]
    encoder_kernel = encoder.get("kernel_size", 11)
    _require(
        encoder.get("sanm_shfit", 0) == 0 and encoder_kernel % 2 == 1,
        "the encoder's FSMN does not look as far ahead as back",
    )
    return {
        "vocabulary": vocabulary,
        "size": encoder["output_size"],
        "heads": encoder["attention_heads"],
        "encoder_units": encoder["linear_units"],
        "encoder_layers": encoder["num_blocks"],
        "encoder_kernel": encoder_kernel,
        "decoder_units": decoder["linear_units"],
        "decoder_layers": decoder.get("att_layer_num", 6),
        "decoder_kernel": decoder.get("kernel_size", 21),
        "cif_left": predictor.get("l_order", 1),
        "cif_right": predictor.get("r_order", 1),
        "cif_threshold": predictor.get("threshold", 1.0),
        "cif_smooth": predictor.get("smooth_factor", 1.0),
        "cif_noise": predictor.get("noise_threshold", 0.0),
        "cif_tail": predictor.get("tail_threshold", 0.45),
        "label_smoothing": config.get("model_conf", {}).get("lsm_weight", 0.0),
    }


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise ValueError(f"this model cannot run here: {why}")
