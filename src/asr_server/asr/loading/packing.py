"""Linear layers whose weights are laid out for the processor once, not at every product."""

import os
import platform

import torch
from torch import Tensor, nn

from asr_server.asr.run.tracing import products, recording

ROWS = 480
"""The rows the layout is chosen for: 32 streams' chunks. With fewer it is as good, measured."""

THREAD_SHAPES = 16
"""Shapes of products that PyTorch keeps for each thread, in front of oneDNN's, 1024 by default."""


class PackedLinear(nn.Module):
    """A linear layer of oneDNN, with the weights in blocks of its choice."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        self.dtype = weight.dtype
        # Buffers, since a recording (see `tracing`) takes no other tensors of this kind.
        self._weight: Tensor
        self._bias: Tensor | None
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self.register_buffer("_weight", packed, persistent=False)
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self.register_buffer("_bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        if recording():
            return products().linear(x, self._weight, self._bias)  # type: ignore[no-any-return]
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, "none", [], ""
        )
        return product


def pack(module: nn.Module) -> None:
    """Replace every linear layer inside `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child))
        else:
            pack(child)


def keep_compiled_once() -> None:
    """Have PyTorch keep little of what oneDNN keeps anyway; counts if nothing ran before.

    Its own cache, one a thread, takes a megabyte for a product of one size: memory would rise for
    hours as if it leaked (docs/adr/0032-memory.md). What the environment says comes first.
    """
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(THREAD_SHAPES))  # read by ideep, of PyTorch


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN's prepacked layouts are the quickest for weights of `dtype`: on x86 CPUs."""
    if device.type != "cpu" or platform.machine() not in {"x86_64", "AMD64"}:
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.int8:  # without these instructions sums of two products overflow
        return supports("vnni")
    return torch._C._has_mkldnn


def supports(instructions: str) -> bool:
    """Whether the processor has them."""
    # torch knows but tells only under private names; the second is that of 2.4.
    names = f"_is_{instructions}_supported", f"_is_cpu_support_{instructions}"
    probes = (getattr(torch.cpu, name, None) for name in names)
    return any(probe() for probe in probes if probe)
