"""FunASR's own offline Paraformers as the reference, and directories with random weights."""

import copy
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from asr_server.asr.nn.frontend import Frontend
from asr_server.asr.run.second_pass import frames_of
from asr_server.audio.units import Pcm
from tests.support.chunks import speechlike
from tests.support.funasr_model import CMVN_SCALE, CMVN_SHIFT, random_config, write_files

MS = 16
"""Samples."""
FRAMES_PER_TOKEN = 4.0
"""250 characters a minute."""


def random_offline_config(
    tokens: int,
    size: int = 32,
    encoder_layers: int = 3,
    decoder_layers: int = 2,
    *,
    hotwords: bool = True,
) -> dict[str, Any]:
    """A FunASR configuration as that of the production model (SeACo), but of any size.

    Without the hotword part it is a `BiCifParaformer`.
    """
    config = random_config(size, encoder_layers, decoder_layers)
    config["model"] = "BiCifParaformer"
    config["encoder"] = "SANMEncoder"
    for name in ("chunk_size", "stride", "pad_left"):
        del config["encoder_conf"][name]
    for name in ("encoder_att_look_back_factor", "decoder_att_look_back_factor"):
        del config["encoder_conf"][name]
    config["encoder_conf"]["input_layer"] = "pe"
    config["decoder_conf"]["sanm_shfit"] = 0
    config["predictor"] = "CifPredictorV3"
    config["predictor_conf"] |= {
        "smooth_factor2": 0.25,
        "noise_threshold2": 0.01,
        "upsample_times": 3,
        "use_cif1_cnn": False,
        "upsample_type": "cnn_blstm",
    }
    config["frontend"] = "WavFrontend"
    config["frontend_conf"]["dither"] = 0.0
    if hotwords:
        config["model"] = "SeacoParaformer"
        config["model_conf"] |= {
            "inner_dim": size,
            "bias_encoder_type": "lstm",
            "bias_encoder_bid": False,
            "seaco_lsm_weight": 0.1,
            "train_decoder": False,
            "NO_BIAS": tokens - 2,
        }
        config["seaco_decoder"] = "ParaformerSANMDecoder"
        # `num_blocks` as in the production model, whose number of layers it is not.
        config["seaco_decoder_conf"] = config["decoder_conf"] | {
            "linear_units": size,
            "num_blocks": 4,
            "kernel_size": 21,
            "use_output_layer": False,
            "wo_input_layer": True,
        }
        del config["seaco_decoder_conf"]["att_layer_num"]
    return config


def write_offline_dir(
    path: Path,
    config: dict[str, Any],
    tokens: list[str],
    seed: int = 0,
    samples: Pcm | None = None,
    frames_per_token: float = FRAMES_PER_TOKEN,
) -> Path:
    """Write a FunASR model directory with the weights of `build_offline`."""
    model = build_offline(config, tokens, seed, samples, frames_per_token)
    return write_files(path, config, tokens, model)


def build_offline(
    config: dict[str, Any],
    tokens: list[str],
    seed: int = 0,
    samples: Pcm | None = None,
    frames_per_token: float = FRAMES_PER_TOKEN,
) -> Any:
    """FunASR's offline model with seeded random weights, in evaluation mode.

    In `samples`, else in noise like speech, a token fires in so many frames.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit.script, distutils
        import funasr.models.bicif_paraformer.cif_predictor
        import funasr.models.paraformer.decoder
        import funasr.models.sanm.encoder  # noqa: F401 - registers its class, as the others do
        from funasr.models.bicif_paraformer.model import BiCifParaformer
        from funasr.models.seaco_paraformer.model import SeacoParaformer

    torch.manual_seed(seed)
    options = {**config["model_conf"], **config}
    options = {name: value for name, value in options.items() if name not in _UNUSED}
    classes = {one.__name__: one for one in (BiCifParaformer, SeacoParaformer)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dropout of a single LSTM layer
        model = classes[config["model"]](
            specaug=None, input_size=560, vocab_size=len(tokens), sos=1, eos=2, **options
        )
    model.eval()
    with torch.no_grad():
        predictor = model.predictor
        size = predictor.cif_output.in_features
        predictor.cif_output.weight.copy_(torch.randn(1, size) * 3.0 / size**0.5)
        samples = speechlike(6.0) if samples is None else samples
        predictor.cif_output.bias.fill_(_bias_for_pace(model, samples, frames_per_token))
        # The LSTM's outputs are small.
        predictor.cif_output2.weight.copy_(torch.randn(1, 2 * size) * 10.0 / size**0.5)
        predictor.cif_output2.bias.fill_(0.0)
        model.decoder.output_layer.weight.mul_(10.0)
        for layer in model.decoder.decoders:
            layer.self_attn.fsmn_block.weight.mul_(2.0)
        if config["model"] == "SeacoParaformer":
            model.hotword_output_layer.weight.mul_(10.0)
            # As large as the largest of the other logits: that decides about half of the places.
            largest = 8.0 * math.sqrt(2.0 * math.log(len(tokens)))
            model.hotword_output_layer.bias[config["model_conf"]["NO_BIAS"]] += largest
    return model


def _bias_for_pace(model: Any, samples: Pcm, frames_per_token: float) -> float:
    """The bias of CIF's output at which a token fires in so many frames."""
    predictor = model.predictor
    frontend = Frontend(torch.full((560,), CMVN_SHIFT), torch.full((560,), CMVN_SCALE))
    inputs = torch.from_numpy(samples)[None], torch.tensor([len(samples)])
    frames = frames_of(len(samples))
    features = frontend(*inputs, torch.ones(1, dtype=torch.bool), frames)
    hidden, _ = model.encode(features.frames, features.lengths)
    queries = predictor.cif_conv1d(predictor.pad(hidden.transpose(1, 2))).relu().transpose(1, 2)
    scores = queries @ predictor.cif_output.weight[0]
    low, high = -20.0, 20.0
    for _ in range(30):
        middle = (low + high) / 2
        quick = (scores + middle).sigmoid().mean() > 1 / frames_per_token
        low, high = (low, middle) if quick else (middle, high)
    return low


_UNUSED = {"model", "model_conf", "frontend", "frontend_conf", "tokenizer", "tokenizer_conf"}


class OfflineTokens(NamedTuple):
    """The tokens of a sentence, and their times in samples."""

    pieces: list[str]
    times: list[tuple[int, int]]
    """Fewer than tokens where FunASR runs out of frames, because many tokens begin in one."""


class FunAsrOffline:
    """FunASR's offline model, run as its `inference` does, one sentence at a time."""

    def __init__(self, model: Any, config: dict[str, Any], tokens: list[str], cmvn: Path) -> None:
        from funasr.frontends.wav_frontend import WavFrontend

        self._model, self._tokens = model, tokens
        self._frontend = WavFrontend(cmvn_file=str(cmvn), **config["frontend_conf"])

    @torch.no_grad()
    def recognise(self, samples: Pcm, words: Sequence[Sequence[int]] = ()) -> OfflineTokens:
        """The tokens of a sentence, with hotwords as token ids."""
        from funasr.utils.timestamp_tools import ts_prediction_lfr6_standard

        model = self._model
        features, lengths = self._frontend(
            torch.from_numpy(samples)[None], torch.tensor([len(samples)])
        )
        hidden, lengths = model.encode(features, lengths)
        embeddings, count, *_ = model.calc_predictor(hidden, lengths)
        count = count.round().long()
        if count.max() < 1:
            return OfflineTokens([], [])
        if words:
            hotwords = [*map(list, words), [model.sos]]
            scores = model._seaco_decode_with_ASF(
                hidden, lengths, embeddings, count, hw_list=hotwords
            )
        else:
            scores, _ = model.cal_decoder_with_predictor(hidden, lengths, embeddings, count)
        _, _, weights, peaks = model.calc_predictor_timestamp(hidden, lengths, count)
        special = (model.eos, model.sos, model.blank_id)
        ids = scores[0, : int(count)].argmax(dim=1).tolist()
        pieces = [self._tokens[token] for token in ids if token not in special]
        frames = 3 * int(lengths)
        _, times = ts_prediction_lfr6_standard(
            weights[0][:frames], peaks[0][:frames], copy.copy(pieces)
        )
        return OfflineTokens(pieces, [(MS * begin, MS * end) for begin, end in times])
