"""Integer arithmetic for the linear layers, and which precision suits a device.

Weights are quantised once, one scale per output; activations when they arrive, one scale per row,
so that a row never depends on the others of its batch.
"""

import torch
from torch import Tensor, nn

LARGEST = 127
SMALLEST_PEAK = 1e-8
"""Keeps the scale of an all-zero row finite."""


class Int8Linear(nn.Module):
    """A linear layer whose product runs on 8-bit integers (VNNI, AMX)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()  # (out, in)
        scale = weight.abs().amax(dim=1).clamp(min=SMALLEST_PEAK) / LARGEST
        self.weight: Tensor
        self.scale: Tensor
        self.bias: Tensor | None
        quantised = (weight / scale[:, None]).round().to(torch.int8)
        self.register_buffer("weight", quantised.t().contiguous())  # (in, out)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), in the type of `x`."""
        rows = x.reshape(-1, self.in_features).float()
        step = rows.abs().amax(dim=1, keepdim=True).clamp(min=SMALLEST_PEAK) / LARGEST
        quantised = (rows / step).round().to(torch.int8)
        product = torch._int_mm(quantised, self.weight) * self.scale  # (rows, out) float32
        scaled = product * step if self.bias is None else torch.addcmul(self.bias, product, step)
        return scaled.view(*x.shape[:-1], self.out_features).to(x.dtype)


def quantise(module: nn.Module, spare: frozenset[str] = frozenset()) -> None:
    """Replace every linear layer inside `module`, except those named in `spare`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and name not in spare:
            setattr(module, name, Int8Linear(child))
        else:
            quantise(child, spare)


def best_dtype(device: torch.device) -> str:
    """The fastest precision whose text is that of float32, by what the device can do.

    8-bit integers need VNNI to pay; FunASR's figures show the same with and without.
    """
    if device.type == "cuda":
        return "float16"
    if _supports("amx_tile"):
        return "bfloat16"
    return "int8" if _supports("vnni") else "float32"


def _supports(instructions: str) -> bool:
    # torch knows the processor but tells only under private names, which differ by release.
    probe = getattr(torch.cpu, f"_is_{instructions}_supported", None)
    return bool(probe and probe())
