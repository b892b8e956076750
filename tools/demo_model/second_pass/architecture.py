"""The second pass's shape: a small `SeacoParaformer`, in FunASR's configuration format."""

from typing import Any

from funasr.models.seaco_paraformer.model import SeacoParaformer

from tools.demo_model.architecture import TAIL, WIDTH, input_and_output

UPSAMPLED = 3
"""Timestamp positions in a model frame of 60 ms."""
NO_BIAS = 0
"""`<blank>`, which is never spoken, stands for "no hotword here"."""
START = 1
"""`<s>` ends every list of hotwords."""
BIAS_UNITS = 496
"""Units of the bias decoder's feed-forward layers."""
TIED = {
    "decoder.embed.0.weight": "decoder.output_layer.weight",
    "hotword_output_layer.weight": "decoder.output_layer.weight",
    **{
        f"predictor.blstm.{kind}_l0_reverse": f"predictor.blstm.{kind}_l0"
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    **{
        f"bias_encoder.{kind}_l1": f"bias_encoder.{kind}_l0"
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
}
"""Tensors that are the same as another, in the file too: it stays under 8 MB."""
_LAYER = {
    "attention_heads": 4,
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
}


def configuration(tokens: int) -> dict[str, Any]:
    """Return the content of `config.yaml` for a vocabulary of `tokens`."""
    decoder = {
        **_LAYER,
        "self_attention_dropout_rate": 0.0,
        "src_attention_dropout_rate": 0.0,
        "num_blocks": 2,
        "att_layer_num": 2,
        # As far back as the streaming decoder's filter, which begins with the same weights.
        "kernel_size": 21,
        "sanm_shfit": 0,
    }
    return {
        "model": "SeacoParaformer",
        "model_conf": {
            "ctc_weight": 0.0,
            "lsm_weight": 0.1,
            "length_normalized_loss": True,
            "predictor_weight": 1.0,
            # The predictor is taught the number of characters, without an end token.
            "predictor_bias": 0,
            "sampling_ratio": 0.75,
            "inner_dim": WIDTH,
            "bias_encoder_type": "lstm",
            "bias_encoder_bid": False,
            "seaco_lsm_weight": 0.1,
            "seaco_length_normalized_loss": True,
            "train_decoder": True,
            "NO_BIAS": NO_BIAS,
        },
        "encoder": "SANMEncoder",
        "encoder_conf": {
            **_LAYER,
            "output_size": WIDTH,
            # The streaming model has 512; these are the more important ones, for the file's size.
            "linear_units": 480,
            "num_blocks": 6,
            "attention_dropout_rate": 0.0,
            "input_layer": "pe",
            "pos_enc_class": "SinusoidalPositionEncoder",
            "normalize_before": True,
            "kernel_size": 11,
            "sanm_shfit": 0,
            "selfattention_layer_type": "sanm",
        },
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": {**decoder, "linear_units": 512},
        "seaco_decoder": "ParaformerSANMDecoder",
        "seaco_decoder_conf": {
            **decoder,
            # One head, which compares whole embeddings; two units for nearly each dimension.
            "attention_heads": 1,
            "linear_units": BIAS_UNITS,
            "use_output_layer": False,
            "wo_input_layer": True,
        },
        "predictor": "CifPredictorV3",
        "predictor_conf": {
            "idim": WIDTH,
            "threshold": 1.0,
            "l_order": 1,
            "r_order": 1,
            "tail_threshold": TAIL,
            "smooth_factor2": 0.25,
            "noise_threshold2": 0.01,
            "upsample_times": UPSAMPLED,
            "upsample_type": "cnn_blstm",
            "use_cif1_cnn": False,
        },
        "frontend": "WavFrontend",
        **input_and_output(tokens),
    }


def create(tokens: int) -> SeacoParaformer:
    """Return an untrained model, with some tensors tied."""
    # Importing the model does not register these parts.
    import funasr.models.bicif_paraformer.cif_predictor
    import funasr.models.paraformer.decoder
    import funasr.models.sanm.encoder  # noqa: F401

    config = configuration(tokens)
    model = SeacoParaformer(
        **{name: value for name, value in config.items() if name not in ("model", "model_conf")},
        **config["model_conf"],
    )
    for name, other in TIED.items():
        owner, _, parameter = name.rpartition(".")
        setattr(model.get_submodule(owner), parameter, model.get_parameter(other))
    return model
