"""Pack the weights of linear layers for the processor once, not at every product."""

import os
import platform

import torch
from torch import Tensor, nn

from asr_server.asr.nn.ops import is_tracing, traceable_products

PACKED_FOR_ROWS = 480
"""Rows the layout is chosen for: chunks of 32 streams. It is as quick with fewer (measured)."""

CACHED_SHAPES = 16
"""Shapes of products in PyTorch's cache of each thread, in front of oneDNN's; 1024 by default."""


class PackedLinear(nn.Module):
    """Compute a linear layer by oneDNN, with the weights in blocks of its choice."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        self.dtype = weight.dtype
        # Buffers, since a trace takes no other tensors of this kind.
        self._weight: Tensor
        self._bias: Tensor | None
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS)
        self.register_buffer("_weight", packed, persistent=False)
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self.register_buffer("_bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        if is_tracing():
            return traceable_products().linear(x, self._weight, self._bias)  # type: ignore[no-any-return]
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, "none", [], ""
        )
        return product


def pack(module: nn.Module) -> None:
    """Replace every linear layer in `module` by a packed one."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child))
        else:
            pack(child)


def limit_product_cache() -> None:
    """Bound PyTorch's cache of prepared products; call this before the first product.

    Each thread's cache takes a megabyte for a product of one size and repeats what oneDNN keeps:
    memory would rise for hours as if it leaked (docs/adr/0032-memory.md). A value in the
    environment takes precedence.
    """
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(CACHED_SHAPES))  # read by ideep, of PyTorch


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether oneDNN's packed weights of `dtype` are the quickest: on x86 CPUs."""
    if device.type != "cpu" or platform.machine() not in {"x86_64", "AMD64"}:
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.int8:
        return cpu_supports("avx2")
    return torch._C._has_mkldnn


def cpu_supports(instructions: str) -> bool:
    """Return whether the processor has the instructions."""
    # torch has this under a private name only.
    probe = getattr(torch.cpu, f"_is_{instructions}_supported", None)
    return probe is not None and bool(probe())
