"""Build the networks from their files."""

import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from asr_server.asr.loading.config import offline_config, paraformer_config
from asr_server.asr.loading.model_dir import ModelDir
from asr_server.asr.loading.precision import copy_mapped, set_precision
from asr_server.asr.nn.frontend import Frontend
from asr_server.asr.nn.hotword_bias import SeacoParaformer
from asr_server.asr.nn.offline import OfflineParaformer
from asr_server.asr.nn.paraformer import Paraformer
from asr_server.asr.nn.punctuation import PunctuationModel
from asr_server.asr.nn.vad import SileroVad

N = TypeVar("N", bound=nn.Module)


def load_paraformer(
    model: ModelDir, chunk_size: tuple[int, int, int], device: torch.device, dtype: str
) -> Paraformer:
    """Return the recogniser's network in the precision `dtype`."""
    config = paraformer_config(model.config, len(model.tokens), chunk_size)
    with torch.device("meta"):  # the weights come from the file, none are made up first
        paraformer = Paraformer(config)
    load_weights(paraformer, model)
    set_precision(_for_inference(paraformer).to(device), dtype)
    return paraformer


def load_offline(model: ModelDir, device: torch.device, dtype: str) -> OfflineParaformer:
    """Return the network of the second pass in the precision `dtype`."""
    config = offline_config(model.config, len(model.tokens))
    with torch.device("meta"):
        bias = config.bias
        network = SeacoParaformer(config, bias) if bias else OfflineParaformer(config)
    load_weights(network, model)
    set_precision(_for_inference(network).to(device), dtype)
    return network


def load_frontend(model: ModelDir) -> Frontend:
    """Return the recogniser's frontend."""
    return Frontend(*model.cmvn())


def load_punctuation(model: ModelDir) -> PunctuationModel:
    """Return the punctuation network, in float32 on the CPU."""
    network = PunctuationModel(len(model.tokens), model.config)
    load_weights(network, model)
    copy_mapped(_for_inference(network.float()))
    return network


@cache
def load_vad() -> SileroVad:
    """Return the VAD with the weights of `silero-vad`; it keeps no state of a caller."""
    # Found without importing it: the package's import sets torch to one thread.
    package = find_spec("silero_vad")
    assert package is not None
    assert package.origin is not None
    archive = Path(package.origin).parent / "data" / "silero_vad.jit"
    with warnings.catch_warnings():
        # torch.jit is deprecated, but these are the only current weights torch can read; the
        # package's safetensors file holds an older version's.
        warnings.simplefilter("ignore", DeprecationWarning)
        archived = torch.jit.load(str(archive), map_location="cpu")  # type: ignore[no-untyped-call]
        weights = archived.state_dict()
    vad = SileroVad()
    vad.load_state_dict(
        {ours: _as_matrix(weights[f"_model.{theirs}"]) for ours, theirs in _VAD_NAMES.items()}
    )
    return _for_inference(vad)


def load_weights(network: nn.Module, model: ModelDir) -> None:
    """Assign the checkpoint's tensors; those that only training needs may be left over.

    They stay mapped to the file until `copy_mapped`, so that a large model is never in memory
    twice. Raises `ValueError` when a tensor is missing or has another shape.
    """
    weights = model.weights()
    try:
        missing = network.load_state_dict(weights, strict=False, assign=True).missing_keys
    except RuntimeError as exc:
        raise ValueError(f"{model.path}: the weights do not fit the configuration") from exc
    if missing:
        raise ValueError(f"{model.path}: {len(missing)} tensors are missing, such as {missing[0]}")


def _for_inference(network: N) -> N:
    return network.eval().requires_grad_(False)


_VAD_NAMES = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    **{
        f"conv{n + 1}.{kind}": f"encoder.{n}.reparam_conv.{kind}"
        for n in range(4)
        for kind in ("weight", "bias")
    },
    **{
        f"lstm_cell.{kind}": f"decoder.rnn.{kind}"
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    "final_conv.weight": "decoder.decoder.2.weight",
    "final_conv.bias": "decoder.decoder.2.bias",
}
"""Names of `SileroVad`'s parameters in the package's archive."""


def _as_matrix(weight: Tensor) -> Tensor:
    """Return a convolution's (out, in, K) as a product's (out, K * in), others unchanged."""
    return weight.transpose(1, 2).flatten(1) if weight.ndim == 3 else weight
