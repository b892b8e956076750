"""Integer arithmetic for the linear layers.

Weights are quantised once, one scale per output; activations when they arrive, one scale per row,
so that a row never depends on the others of its batch.
"""

import torch
from torch import Tensor, nn

from asr_server.asr.backends.packing import packs
from asr_server.asr.backends.tracing import products, recording

LARGEST = 127
SMALLEST_PEAK = 1e-8
"""Keeps the scale of an all-zero row finite."""
ZERO = 128
"""What stands for zero in unsigned activations."""


class Int8Linear(nn.Module):
    """A linear layer whose product runs on 8-bit integers (VNNI, AMX)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()  # (out, in)
        scale = weight.abs().amax(dim=1).clamp(min=SMALLEST_PEAK) / LARGEST
        self.scale: Tensor
        self.bias: Tensor | None
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())
        quantised = (weight / scale[:, None]).round().to(torch.int8)
        self._packed = packs(weight.device, torch.int8)
        self._weight: Tensor
        self._zeros: Tensor
        if self._packed:
            # Laid out for the processor once; the kernel of the product applies the scales.
            ready = torch.ops.onednn.qlinear_prepack(quantised, None)
            zeros = torch.zeros(self.out_features, dtype=torch.int32)
            self.register_buffer("_zeros", zeros, persistent=False)
        else:
            ready = quantised.t().contiguous()  # (in, out)
        self.register_buffer("_weight", ready, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), in the type of `x`."""
        rows = x.reshape(-1, self.in_features).float()
        peak = rows.abs().amax(dim=1, keepdim=True)  # (rows, 1)
        step = peak.clamp_(min=SMALLEST_PEAK).div_(LARGEST)
        product = self._product((rows / step).round_().to(torch.int8))
        if self.bias is None:
            product.mul_(step)
        else:
            torch.addcmul(self.bias, product, step, out=product)
        return product.view(*x.shape[:-1], self.out_features).to(x.dtype)

    def _product(self, rows: Tensor) -> Tensor:
        """(rows, in) int8 to (rows, out) float32 in units of each row's step."""
        if not self._packed:
            return torch._int_mm(rows, self._weight) * self.scale
        # To the same bits read as unsigned, adding 128 wraps around: -127...127 become 1...255.
        unsigned = rows.to(torch.uint8).add_(ZERO)
        weights = (self._weight, self.scale, self._zeros)
        if recording():
            return products().qlinear(unsigned, ZERO, *weights)  # type: ignore[no-any-return]
        inputs = (unsigned, 1.0, ZERO)
        float_output = (1.0, 0, torch.float32)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            *inputs, *weights, None, *float_output, "none", [], ""
        )
        return product


def quantise(module: nn.Module, spare: frozenset[str] = frozenset()) -> None:
    """Replace every linear layer inside `module`, except those named in `spare`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and name not in spare:
            setattr(module, name, Int8Linear(child))
        else:
            quantise(child, spare)
