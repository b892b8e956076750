"""Provide small operators that eager layers and traced ones share."""

from functools import cache
from typing import Any

import torch
from torch import Tensor


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` in `dtype`; where that changes nothing a trace gets no operator for it."""
    return x if x.dtype == dtype else x.to(dtype)


def masked_zero(x: Tensor, mask: Tensor) -> Tensor:
    """Return `x` (B, ...) with zeros in the rows where `mask` (B,) holds."""
    return torch.where(mask.view(-1, *[1] * (x.dim() - 1)), x.new_zeros(()), x)


def pad(x: Tensor, index: Tensor) -> Tensor:
    """Return the tokens `x` (N, D) of all rows, padded row by row to (B, K, D).

    `index` (B, K) holds the number of the token at each place; behind a row's tokens any number.
    """
    return x.index_select(0, index.flatten()).view(*index.shape, int(x.shape[1]))


def unpad(x: Tensor, index: Tensor) -> Tensor:
    """Return the tokens (N, D) of the padded `x` (B, K, D), at the places `index` (N,) of B * K."""
    return x.flatten(0, 1).index_select(0, index)


def is_tracing() -> bool:
    """Return whether the current call is being traced."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


@cache
def traceable_products() -> Any:
    """Return oneDNN's products as TorchScript functions `linear` and `qlinear`.

    Both operators take a list of numbers, empty here; `torch.jit.trace` knows no such type.
    """
    return torch.jit.CompilationUnit("""
        def linear(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
            none: List[Optional[number]] = []
            return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", none, "")

        def qlinear(x: Tensor, zero: int, weight: Tensor, scale: Tensor, zeros: Tensor) -> Tensor:
            none: List[Optional[number]] = []
            return torch.ops.onednn.qlinear_pointwise(
                x, 1.0, zero, weight, scale, zeros,
                None, 1.0, 0, torch.float32, "none", none, "")
    """)
