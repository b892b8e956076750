"""Modules that run without the interpreter.

A step calls thousands of small operators. Called from Python each of them costs microseconds in
which no other thread may run Python: not the event loop, and not another lane. TorchScript's own
interpreter needs less, and no lock (docs/adr/0013-without-the-interpreter.md).

https://docs.pytorch.org/docs/stable/generated/torch.jit.trace.html
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

T = TypeVar("T")

Call = Callable[[nn.Module, Tensor, list[Tensor], list[Tensor]], tuple[Tensor, list[Tensor]]]
"""What a layer makes of `x`, of tensors of its own and of some that all layers share.

Gives the layer's output and what is to be kept of it.
"""
Chain = Callable[[Tensor, list[Tensor], list[Tensor], list[Tensor]], Tensor]
"""What all layers make of `x`: a function of `x`, `stacks`, `shared` and `rooms`.

`stacks` (N, L, ...) have every layer's own tensors; `rooms` (M, L, ...) take what layers keep.
"""
Example = tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]


def interpreted(call: Call, layers: Sequence[nn.Module]) -> Chain:
    """The layers one after the other."""

    def run(x: Tensor, stacks: list[Tensor], shared: list[Tensor], rooms: list[Tensor]) -> Tensor:
        for number, layer in enumerate(layers):
            x, kept = call(layer, x, [stack.select(1, number) for stack in stacks], shared)
            for room, part in zip(rooms, kept, strict=True):
                room.select(1, number).copy_(part)
        return x

    return run


def recorded(call: Call, layers: Sequence[nn.Module], examples: Sequence[Example]) -> Chain:
    """The same without the interpreter, for tensors of any size; the weights are final.

    The examples differ in every size that varies. What the first two layers do with the first one
    is recorded, with the weights as arguments; the others do as the second. (A recording of them
    all would take 200 MB.) If the recording does not say the same as the layers for each example,
    or PyTorch cannot record any more, the interpreter goes on.
    """
    plain = interpreted(call, layers)

    def quick() -> Chain:
        weights = [_weights(layer) for layer in layers]
        x, stacks, shared, _ = examples[0]
        own = [stack.select(1, 0) for stack in stacks]
        opening = _record(call, layers[0], x, own, shared)
        x, _ = opening(weights[0], x, own, shared)
        following = _record(call, layers[min(1, len(layers) - 1)], x, own, shared)
        return partial(_loop(opening, following), weights)

    return _if_faithful(
        quick, plain, lambda run: all(_same(run, plain, example) for example in examples)
    )


def scripted(module: nn.Module, examples: Sequence[tuple[Tensor, ...]]) -> nn.Module:
    """A module that TorchScript can read, without the interpreter; itself where that fails.

    For modules whose sizes decide how often a loop runs, which a recording would not know.
    """

    def same(quick: nn.Module, example: tuple[Tensor, ...]) -> bool:
        answers = [one(*example) for one in (quick, quick, quick, module)]
        return all(torch.equal(ours, theirs) for ours, theirs in zip(*answers[2:], strict=True))

    def quick() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, as `trace` is
            compiled: nn.Module = torch.jit.script(module)
            return compiled

    return _if_faithful(quick, module, lambda one: all(same(one, example) for example in examples))


def _if_faithful(build: Callable[[], T], plain: T, faithful: Callable[[T], bool]) -> T:
    """What is built, or `plain` where that fails or says something else."""
    try:
        quick = build()
        if faithful(quick):
            return quick
    except Exception as exc:
        log.warning("steps stay slower: PyTorch cannot record them (%s)", type(exc).__name__)
        return plain
    log.warning("steps stay slower: PyTorch's recording of them is not faithful")
    return plain


def _loop(opening: Any, following: Any) -> Any:
    """`interpreted` in TorchScript, of recorded layers, with all weights as first argument."""
    return torch.jit.CompilationUnit("""
        def run(
            weights: List[List[Tensor]], x: Tensor, stacks: List[Tensor],
            shared: List[Tensor], rooms: List[Tensor]
        ) -> Tensor:
            for number in range(len(weights)):
                own: List[Tensor] = []
                for stack in stacks:
                    own.append(stack.select(1, number))
                if number == 0:
                    x, kept = opening(weights[number], x, own, shared)
                else:
                    x, kept = following(weights[number], x, own, shared)
                for place in range(len(rooms)):
                    rooms[place].select(1, number).copy_(kept[place])
            return x
    """).run


def recording() -> bool:
    """Whether what is called now is being recorded."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` in `dtype`; where that changes nothing a recording has no operator for it."""
    return x if x.dtype == dtype else x.to(dtype)


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


def _places(layer: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Where the weights are, in an order that all layers which are alike have in common."""
    return [
        (home, name)
        for module in layer.modules()
        for home in (module._parameters, module._buffers)
        for name, weight in home.items()
        if weight is not None
    ]


def _weights(layer: nn.Module) -> list[Tensor]:
    return [home[name] for home, name in _places(layer)]


def _record(
    call: Call, layer: nn.Module, x: Tensor, own: list[Tensor], shared: list[Tensor]
) -> Any:
    """A function of a list of weights and of what `call` takes."""
    weights = _weights(layer)

    def put(values: list[Tensor]) -> None:
        for (home, name), value in zip(_places(layer), values, strict=True):
            home[name] = value

    def run(
        values: list[Tensor], x: Tensor, own: list[Tensor], shared: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        put(values)
        return call(layer, x, own, shared)

    try:
        with warnings.catch_warnings():
            # That it is deprecated (since 2.9, without anything else that needs no compiler), and
            # that sizes which never vary become constants.
            warnings.simplefilter("ignore")
            return torch.jit.trace(  # type: ignore[no-untyped-call]
                run, (weights, x, own, shared), check_trace=False, strict=False
            )
    finally:
        put(weights)


def _same(one: Chain, other: Chain, example: Example) -> bool:
    x, stacks, shared, rooms = example
    answers = []
    for chain in (one, one, one, other):  # a recording is optimised in its first two runs
        for room in rooms:
            room.zero_()
        answers.append([chain(x, stacks, shared, rooms), *(room.clone() for room in rooms)])
    return all(torch.equal(ours, theirs) for ours, theirs in zip(*answers[2:], strict=True))
