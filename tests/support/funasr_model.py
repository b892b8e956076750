"""FunASR's own streaming Paraformer as the reference, and model directories with random weights."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

CHARACTERS = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可"


CMVN_SHIFT, CMVN_SCALE = -12.0, 0.5
"""Of every feature, as large as those of speech."""


def random_config(
    size: int = 32, encoder_layers: int = 3, decoder_layers: int = 2
) -> dict[str, Any]:
    """A FunASR configuration as the production model's, but of any size."""
    return {
        "model": "ParaformerStreaming",
        "model_conf": {
            "ctc_weight": 0.0,
            "lsm_weight": 0.1,
            "length_normalized_loss": True,
            "predictor_weight": 1.0,
            "predictor_bias": 1,
            "sampling_ratio": 0.75,
        },
        "encoder": "SANMEncoderChunkOpt",
        "encoder_conf": {
            "output_size": size,
            "attention_heads": 4,
            "linear_units": 2 * size,
            "num_blocks": encoder_layers,
            "dropout_rate": 0.1,
            "positional_dropout_rate": 0.1,
            "attention_dropout_rate": 0.1,
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
            "linear_units": 2 * size,
            "num_blocks": decoder_layers,
            "dropout_rate": 0.1,
            "positional_dropout_rate": 0.1,
            "self_attention_dropout_rate": 0.1,
            "src_attention_dropout_rate": 0.1,
            "att_layer_num": decoder_layers,
            "kernel_size": 11,
            "sanm_shfit": 5,
        },
        "predictor": "CifPredictorV2",
        "predictor_conf": {
            "idim": size,
            "threshold": 1.0,
            "l_order": 1,
            "r_order": 1,
            "tail_threshold": 0.45,
        },
        "frontend": "WavFrontendOnline",
        "frontend_conf": {
            "fs": 16000,
            "window": "hamming",
            "n_mels": 80,
            "frame_length": 25,
            "frame_shift": 10,
            "lfr_m": 7,
            "lfr_n": 6,
        },
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
    }


def write_model_dir(path: Path, config: dict[str, Any], tokens: list[str], seed: int = 0) -> Path:
    """Write a FunASR model directory whose random weights fire tokens at the pace of speech."""
    return write_files(path, config, tokens, build_funasr(config, tokens, seed))


def write_files(path: Path, config: dict[str, Any], tokens: list[str], model: Any) -> Path:
    """Write the files of a FunASR model directory."""
    path.mkdir(parents=True, exist_ok=True)
    torch.save(
        {name: tensor.clone() for name, tensor in model.state_dict().items()}, path / "model.pt"
    )
    (path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (path / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    (path / "am.mvn").write_text(_cmvn(), encoding="utf-8")
    files = {
        "init_param": "model.pt",
        "config": "config.yaml",
        "tokenizer_conf": {"token_list": "tokens.json"},
        "frontend_conf": {"cmvn_file": "am.mvn"},
    }
    description = {"framework": "pytorch", "model": {"type": "funasr"}, "file_path_metas": files}
    (path / "configuration.json").write_text(json.dumps(description), encoding="utf-8")
    return path


def small_vocabulary() -> list[str]:
    """Special tokens, characters, and pieces of English words."""
    return ["<blank>", "<s>", "</s>", *CHARACTERS, "hel@@", "lo", "ok", "<unk>"]


def build_funasr(config: dict[str, Any], tokens: list[str], seed: int = 0) -> Any:
    """FunASR's `ParaformerStreaming` with seeded random weights, in evaluation mode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit.script
        import funasr.models.paraformer.cif_predictor
        import funasr.models.paraformer.decoder
        import funasr.models.scama.encoder  # noqa: F401 - registers its class, as the others do
        from funasr.models.paraformer_streaming.model import ParaformerStreaming

    torch.manual_seed(seed)
    model = ParaformerStreaming(
        specaug=None,
        encoder=config["encoder"],
        encoder_conf=config["encoder_conf"],
        decoder=config["decoder"],
        decoder_conf=config["decoder_conf"],
        predictor=config["predictor"],
        predictor_conf=config["predictor_conf"],
        input_size=560,
        vocab_size=len(tokens),
        sos=1,
        eos=2,
        **config["model_conf"],
    )
    with torch.no_grad():  # about one token in four frames, spread, as in speech
        size = model.predictor.cif_output.in_features
        model.predictor.cif_output.weight.copy_(torch.randn(1, size) * 12.0 / size**0.5)
        model.predictor.cif_output.bias.fill_(-0.5)
        model.decoder.output_layer.weight.mul_(10.0)
        for layer in model.decoder.decoders:
            layer.self_attn.fsmn_block.weight.mul_(2.0)
    return model.eval()


class FunAsrStream:
    """One stream through FunASR's own chunk functions, fed chunk by chunk as its `inference` does.

    The place where FunASR is known to be wrong is left out: the scaling of the last features when
    less than 60 ms remain is avoided by handing over a copy.
    """

    def __init__(
        self,
        model: Any,
        config: dict[str, Any],
        tokens: list[str],
        cmvn: Path,
        chunk_size: tuple[int, int, int],
    ) -> None:
        from funasr.frontends.wav_frontend import WavFrontendOnline

        self._model, self._tokens, self._chunk_size = model, tokens, chunk_size
        self._frontend = WavFrontendOnline(
            cmvn_file=str(cmvn), dither=0.0, **config["frontend_conf"]
        )
        self._cache: dict[str, Any] = {}
        model.init_cache(
            self._cache,
            chunk_size=list(chunk_size),
            encoder_chunk_look_back=4,
            decoder_chunk_look_back=1,
            encoder_conf=config["encoder_conf"],
            frontend_conf=config["frontend_conf"],
        )

    def transcribe(self, samples: np.ndarray) -> list[list[str]]:
        """The tokens of every chunk of a whole recording."""
        stride = self._chunk_size[1] * 960
        chunks = len(samples) // stride
        chunks_text = [
            self._chunk(samples[i * stride : (i + 1) * stride], False) for i in range(chunks)
        ]
        chunks_text.append(self._chunk(samples[chunks * stride :], True))
        return chunks_text

    def _chunk(self, samples: np.ndarray, final: bool) -> list[str]:
        encoder = self._cache["encoder"]
        features = torch.empty(0)
        if len(samples):
            features, _ = self._frontend(
                torch.from_numpy(samples)[None],
                torch.tensor([len(samples)]),
                is_final=final,
                cache=self._cache["frontend"],
            )
        if features.dim() != 3 or features.shape[1] == 0:
            encoder["tail_chunk"] = True
            features = encoder["feats"].clone()
        with torch.no_grad():
            return self._model.generate_chunk(
                features.clone(),
                torch.tensor([features.shape[1]]),
                key=["k"],
                tokenizer=_Tokens(self._tokens),
                cache=self._cache,
                is_final=final,
                device="cpu",
            )


class _Tokens:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens

    def ids2tokens(self, ids: list[int]) -> list[str]:
        return [self._tokens[i] for i in ids]


def _cmvn() -> str:
    """The content of `am.mvn`, in the production file's layout."""
    shift = " ".join([str(CMVN_SHIFT)] * 560)
    scale = " ".join([str(CMVN_SCALE)] * 560)
    return (
        "<Nnet>\n<Splice> 560 560\n[ 0 ]\n"
        f"<AddShift> 560 560\n<LearnRateCoef> 0 [ {shift} ]\n"
        f"<Rescale> 560 560\n<LearnRateCoef> 0 [ {scale} ]\n</Nnet>\n"
    )
