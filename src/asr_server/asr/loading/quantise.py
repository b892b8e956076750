"""Quantise linear layers to 8-bit integers.

Weights are quantised once, one scale per output; activations in the step, one scale per row,
so that a row never depends on the others of its batch.
"""

import torch
from torch import Tensor, nn

from asr_server.asr.loading.packing import can_pack, cpu_supports
from asr_server.asr.nn.ops import cast, is_tracing, traceable_products
from asr_server.asr.nn.sanm import FeedForward

LARGEST = 127
SMALLEST_PEAK = 1e-8
"""Keeps the scale of an all-zero row finite."""
ZERO = 128
"""The zero point of signed activations, which travel as unsigned ones."""
LARGEST_UNSIGNED = 255
"""For activations without a sign."""
LARGEST_OF_PAIRS = 64
"""For weights where the processor adds two products in 16 bits: 2 * 255 * 64 still fits."""


class Int8Linear(nn.Module):
    """Compute a linear layer as a product of 8-bit integers.

    `positive` inputs, as behind a ReLU, use all 8 bits for their size. Weights have 7 bits on
    processors with AVX2 but without VNNI.
    """

    def __init__(self, linear: nn.Linear, positive: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()  # (out, in)
        scale = weight.abs().amax(dim=1).clamp(min=SMALLEST_PEAK) / largest_weight(weight.device)
        self.bias: Tensor | None
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())
        quantised = (weight / scale[:, None]).round().to(torch.int8)
        self._packed = can_pack(weight.device, torch.int8)
        self._signed = not (positive and self._packed)  # the other product takes signed numbers
        self._zero = ZERO if self._signed else 0
        self._largest = LARGEST if self._signed else LARGEST_UNSIGNED
        self.scale: Tensor
        """Value of 1 in a product with a row whose largest value is 1."""
        self.register_buffer("scale", scale / self._largest)
        self._weight: Tensor
        self._zeros: Tensor
        self._centre: Tensor
        # With a half, so that truncation rounds. As long as a row: with a single number the kernel
        # goes value by value.
        centre = torch.full((self.in_features,), self._zero + 0.5, device=weight.device)
        self.register_buffer("_centre", centre, persistent=False)
        if self._packed:
            # The kernel of the product applies the scales.
            ready = torch.ops.onednn.qlinear_prepack(quantised, None)
            zeros = torch.zeros(self.out_features, dtype=torch.int32)
            self.register_buffer("_zeros", zeros, persistent=False)
        else:
            ready = quantised.t().contiguous()  # (in, out)
        self.register_buffer("_weight", ready, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), in the dtype of `x`."""
        rows = cast(x.reshape(-1, self.in_features), torch.float32)
        peak = self._peak(rows)
        unsigned = torch.addcmul(self._centre, rows, peak.reciprocal(), value=self._largest)
        # Through int16: straight to uint8 PyTorch goes value by value.
        product = self.product(unsigned.to(torch.int16).to(torch.uint8))
        if self.bias is None:
            product.mul_(peak)
        else:
            torch.addcmul(self.bias, product, peak, out=product)
        return cast(product.view(*x.shape[:-1], self.out_features), x.dtype)

    def _peak(self, rows: Tensor) -> Tensor:
        """Return the largest magnitude (rows, 1) in each of `rows` (rows, in)."""
        peak = rows.amax(dim=1, keepdim=True)
        if self._signed:
            peak = torch.maximum(peak, rows.amin(dim=1, keepdim=True).neg_())
        return peak.clamp_(min=SMALLEST_PEAK)

    def product(self, rows: Tensor) -> Tensor:
        """Map uint8 (rows, in) to float32 (rows, out) in units of each row's peak."""
        if not self._packed:
            # 0...255 wrap around to -128...127; a `view` as another type cannot be traced.
            signed = rows.sub(ZERO).to(torch.int8)
            return torch._int_mm(signed, self._weight) * self.scale
        weights = (self._weight, self.scale, self._zeros)
        if is_tracing():
            return traceable_products().qlinear(rows, self._zero, *weights)  # type: ignore[no-any-return]
        inputs = (rows, 1.0, self._zero)
        float_output = (1.0, 0, torch.float32)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            *inputs, *weights, None, *float_output, "none", [], ""
        )
        return product


def largest_weight(device: torch.device) -> int:
    """Return the largest integer that a weight may have on `device`, with no sum overflowing."""
    in_pairs = can_pack(device, torch.int8) and not cpu_supports("vnni")
    return LARGEST_OF_PAIRS if in_pairs else LARGEST


def quantise(module: nn.Module, skip: frozenset[str] = frozenset()) -> None:
    """Replace every linear layer in `module` by an integer one, except those named in `skip`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and name not in skip:
            behind_relu = isinstance(module, FeedForward) and child is module.w_2
            setattr(module, name, Int8Linear(child, positive=behind_relu))
        else:
            quantise(child, skip)
