"""Modules that run without the interpreter.

A step calls thousands of small operators. Called from Python each of them costs microseconds in
which no other thread may run Python: not the event loop, and not another lane. TorchScript's own
interpreter needs less, and no lock (docs/adr/0013-without-the-interpreter.md).

https://docs.pytorch.org/docs/stable/generated/torch.jit.trace.html
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

Arguments = tuple[Tensor, ...]
Layers = Callable[..., tuple[Tensor, ...]]


def traced(module: nn.Module, examples: Sequence[Arguments]) -> Layers:
    """A recording of what `module` does with the first of `examples`, for arguments of any shape.

    The examples differ in every size that varies. If the recording does not say the same as the
    module for each of them, or PyTorch cannot record any more, what is returned is the module's
    own `forward`.
    """
    try:
        with warnings.catch_warnings():
            # That it is deprecated (since 2.9, without anything else that needs no compiler), and
            # that sizes which never vary become constants.
            warnings.simplefilter("ignore")
            script = torch.jit.trace(module, examples[0], check_trace=False)  # type: ignore[no-untyped-call]
        faithful = all(_same(script, module, example) for example in examples)
    except Exception as exc:
        log.warning("steps stay slower: PyTorch cannot record them (%s)", type(exc).__name__)
        return module.forward
    if not faithful:
        log.warning("steps stay slower: PyTorch's recording of them is not faithful")
        return module.forward
    run: Layers = script.forward
    return run


def recording() -> bool:
    """Whether what is called now is being recorded."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


@cache
def products() -> Any:
    """oneDNN's products, as a recording needs them.

    `trace` does not know lists of numbers, which both operators take and which are empty here.
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


def _same(script: nn.Module, module: nn.Module, arguments: Arguments) -> bool:
    # Three times: the first two runs of a recording are those in which it is optimised.
    for _ in range(2):
        script(*arguments)
    pairs = zip(script(*arguments), module(*arguments), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)
