"""Choose the precision for a device, and convert the network to it."""

import torch
from torch import nn

from asr_server.asr.loading.packing import can_pack, cpu_supports, pack
from asr_server.asr.loading.quantise import quantise
from asr_server.asr.nn.hotword_bias import SeacoParaformer
from asr_server.asr.nn.offline import OfflineParaformer
from asr_server.asr.nn.paraformer import Paraformer


def best_dtype(device: torch.device) -> str:
    """Return the fastest precision whose text is that of float32, by what the device supports.

    8-bit integers pay where oneDNN multiplies them (docs/adr/0004-integers.md). Activations of
    large encoders leave the range of float16: for it FunASR's export divides them by a factor.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return "bfloat16" if native else "float32"
    if cpu_supports("amx_tile"):
        return "bfloat16"
    return "int8" if can_pack(device, torch.int8) else "float32"


def set_precision(paraformer: Paraformer | OfflineParaformer, dtype: str) -> None:
    """Convert freshly loaded weights, layer by layer, to those that a step computes with."""
    encoder, decoders, outputs = paraformer.encoder, [paraformer.decoder], []
    if isinstance(paraformer, SeacoParaformer):
        decoders, outputs = [*decoders, paraformer.seaco_decoder], [paraformer.hotword_output_layer]
    parts = [encoder, *decoders, *outputs]
    attention: torch.dtype = getattr(torch, dtype)
    if dtype == "int8":  # attention beside it in bfloat16 if the processor multiplies that
        native = cpu_supports("avx512_bf16") or cpu_supports("amx_tile")
        attention = torch.bfloat16 if native else torch.float32
    for layer in encoder.layers:
        layer.attention_dtype = attention  # type: ignore[assignment]
    # Tokens attend in batches of any size, for each of which oneDNN would compile bfloat16's.
    on_cpu = encoder.after_norm.weight.device.type == "cpu"
    for layer in (layer for decoder in decoders for layer in decoder.decoders):
        layer.attention_dtype = torch.float32 if on_cpu else attention  # type: ignore[assignment]
    paraformer.float()
    if dtype == "int8":
        # The scores decide between tokens and cost little: they stay exact.
        for part in parts:
            quantise(part, skip=frozenset({"output_layer"}))
    else:
        # The predictor adds up many small weights: too coarse a sum loses or invents tokens.
        for part in parts:
            part.to(getattr(torch, dtype))
    norm = encoder.after_norm.weight
    if can_pack(norm.device, norm.dtype):
        for part in parts:
            pack(part)
    copy_mapped(paraformer)


def copy_mapped(module: nn.Module) -> None:
    """Copy what is still mapped to a file: another file may replace it while the server runs."""
    for tensor in (*module.parameters(), *module.buffers()):
        # Else it was packed, or moved to a GPU: there a copy would scatter the weights of an LSTM.
        if tensor.layout is torch.strided and tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()
