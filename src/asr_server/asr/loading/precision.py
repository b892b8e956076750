"""Which precision suits a device, and the network in it."""

import torch

from asr_server.asr.loading.model_dir import own
from asr_server.asr.loading.packing import pack, packs, supports
from asr_server.asr.loading.quantise import quantise
from asr_server.asr.nn.paraformer import Paraformer


def best_dtype(device: torch.device) -> str:
    """The fastest precision whose text is that of float32, by what the device can do.

    8-bit integers need VNNI to pay; FunASR's figures show the same with and without.
    """
    if device.type == "cuda":
        return "float16"
    if supports("amx_tile"):
        return "bfloat16"
    return "int8" if supports("vnni") else "float32"


def attention_dtype(dtype: str) -> torch.dtype:
    """In which precision attention runs beside weights of `dtype`.

    With 8-bit weights it takes bfloat16 if the processor multiplies that.
    """
    if dtype != "int8":
        return getattr(torch, dtype)  # type: ignore[no-any-return]
    native = supports("avx512_bf16") or supports("amx_tile")
    return torch.bfloat16 if native else torch.float32


def set_precision(paraformer: Paraformer, dtype: str) -> None:
    """Turn freshly loaded weights into what the step computes with, layer by layer."""
    encoder, decoder = paraformer.encoder, paraformer.decoder
    encoder.attention_dtype = attention_dtype(dtype)
    # Few tokens attend in batches of every size, for each of which oneDNN would compile bfloat16's.
    on_cpu = decoder.after_norm.weight.device.type == "cpu"
    decoder.attention_dtype = torch.float32 if on_cpu else encoder.attention_dtype
    paraformer.float()
    if dtype == "int8":
        # The scores decide between tokens and cost little: they stay exact.
        quantise(encoder)
        quantise(decoder, spare=frozenset({"output_layer"}))
    else:
        # The predictor adds up many small weights: too coarse a sum loses or invents tokens.
        encoder.to(getattr(torch, dtype))
        decoder.to(getattr(torch, dtype))
    norm = decoder.after_norm.weight
    if packs(norm.device, norm.dtype):
        pack(encoder)
        pack(decoder)
    own(paraformer)
