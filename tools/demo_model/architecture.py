"""The demo model's shape: a small `ParaformerStreaming`, in FunASR's configuration format."""

from typing import Any

from funasr.models.paraformer_streaming.model import ParaformerStreaming
from funasr.register import tables

WIDTH = 256
TAIL = 0.45


def input_and_output(tokens: int) -> dict[str, Any]:
    """Return the part of `config.yaml` on features and tokens, the same for both passes."""
    return {
        "frontend_conf": {
            "fs": 16000,
            "window": "hamming",
            "n_mels": 80,
            "frame_length": 25,
            "frame_shift": 10,
            "lfr_m": 7,
            "lfr_n": 6,
            "dither": 0.0,
        },
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "input_size": 560,
        "vocab_size": tokens,
    }


def configuration(tokens: int) -> dict[str, Any]:
    """Return the content of `config.yaml` for a vocabulary of `tokens`."""
    return {
        "model": "ParaformerStreaming",
        "model_conf": {
            "ctc_weight": 0.0,
            "lsm_weight": 0.1,
            "length_normalized_loss": True,
            "predictor_weight": 1.0,
            # The predictor is taught the number of characters, without an end token.
            "predictor_bias": 0,
            "sampling_ratio": 0.75,
        },
        "encoder": "SANMEncoderChunkOpt",
        "encoder_conf": {
            "output_size": WIDTH,
            "attention_heads": 4,
            "linear_units": 512,
            "num_blocks": 6,
            "dropout_rate": 0.0,
            "positional_dropout_rate": 0.0,
            "attention_dropout_rate": 0.0,
            "input_layer": "pe_online",
            "pos_enc_class": "SinusoidalPositionEncoder",
            "normalize_before": True,
            "kernel_size": 11,
            "sanm_shfit": 0,
            "selfattention_layer_type": "sanm",
            "chunk_size": [12, 15],
            "stride": [8, 10],
            "pad_left": [0, 0],
            "encoder_att_look_back_factor": [4, 4],
            "decoder_att_look_back_factor": [1, 1],
        },
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": {
            "attention_heads": 4,
            "linear_units": 512,
            "num_blocks": 2,
            "dropout_rate": 0.0,
            "positional_dropout_rate": 0.0,
            "self_attention_dropout_rate": 0.0,
            "src_attention_dropout_rate": 0.0,
            "att_layer_num": 2,
            "kernel_size": 11,
            "sanm_shfit": 5,
            # Only the training sampler embeds tokens, and it brings its own table.
            "wo_input_layer": True,
        },
        "predictor": "CifPredictorV2",
        "predictor_conf": {
            "idim": WIDTH,
            "threshold": 1.0,
            "l_order": 1,
            "r_order": 1,
            "tail_threshold": TAIL,
        },
        "frontend": "WavFrontendOnline",
        **input_and_output(tokens),
    }


def create(tokens: int) -> ParaformerStreaming:
    """An untrained model."""
    config = configuration(tokens)
    # Importing the model does not register these parts.
    import funasr.models.paraformer.cif_predictor
    import funasr.models.paraformer.decoder
    import funasr.models.scama.encoder  # noqa: F401

    assert tables.encoder_classes.get(config["encoder"])
    return ParaformerStreaming(
        encoder=config["encoder"],
        encoder_conf=config["encoder_conf"],
        decoder=config["decoder"],
        decoder_conf=config["decoder_conf"],
        predictor=config["predictor"],
        predictor_conf=config["predictor_conf"],
        input_size=config["input_size"],
        vocab_size=tokens,
        **config["model_conf"],
    )
