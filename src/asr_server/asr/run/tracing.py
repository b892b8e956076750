"""Trace layers and compile modules, so that they run without Python's interpreter.

A step calls thousands of small operators. Called from Python each of them costs microseconds in
which no other thread can run Python: neither the event loop nor another worker. TorchScript's own
interpreter needs less, and no lock (docs/adr/0013-traced-layers.md).

https://docs.pytorch.org/docs/stable/generated/torch.jit.trace.html
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from asr_server.asr.nn.layer_loop import LayerLoop, run_layers

log = logging.getLogger(__name__)

T = TypeVar("T")

Example = tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]
"""Arguments of a `LayerLoop`."""


def traced(layers: Sequence[nn.Module], examples: Sequence[Example]) -> LayerLoop:
    """Return the loop over `layers`, traced, for tensors of any size; the weights are final.

    The examples differ in every size that varies. The first two layers are traced on the first
    example, with the weights as arguments; all others run as the second. (A trace of every layer
    would take 200 MB.) The eager loop is returned where PyTorch cannot trace the layers, or if the
    traced loop differs from it on an example.
    """
    eager: LayerLoop = partial(run_layers, layers)

    def build() -> LayerLoop:
        weights = [_weights(layer) for layer in layers]
        x, caches, shared, _ = examples[0]
        inputs = [*(cache.select(1, 0) for cache in caches), *shared]
        first = _trace(layers[0], x, inputs)
        x, *_ = first(weights[0], x, inputs)
        others = _trace(layers[min(1, len(layers) - 1)], x, inputs)
        return partial(_loop(first, others), weights)

    def outputs(loop: LayerLoop, example: Example) -> list[Tensor]:
        x, caches, shared, outputs = example
        for output in outputs:
            output.zero_()
        return [loop(x, caches, shared, outputs), *(output.clone() for output in outputs)]

    return _if_equal(build, eager, outputs, examples)


def scripted(module: nn.Module, examples: Sequence[tuple[Tensor, ...]]) -> nn.Module:
    """Return the module compiled by TorchScript, or itself where that fails.

    For modules whose loops depend on sizes, which a trace would not do.
    """

    def build() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated, as `trace` is
            compiled: nn.Module = torch.jit.script(module)
            return compiled

    return _if_equal(build, module, lambda one, example: one(*example), examples)


def _if_equal(
    build: Callable[[], T],
    eager: T,
    outputs: Callable[[T, Any], Iterable[Tensor]],
    examples: Iterable[Any],
) -> T:
    """Return what is built, or `eager` where that fails or the outputs differ on an example."""

    def equal(quick: T, example: Any) -> bool:
        # TorchScript optimises in its first two runs: the third counts.
        *_, third, expected = [outputs(one, example) for one in (quick, quick, quick, eager)]
        return all(torch.equal(ours, theirs) for ours, theirs in zip(third, expected, strict=True))

    try:
        quick = build()
        if all(equal(quick, example) for example in examples):
            return quick
    except Exception as exc:
        log.warning("steps stay slower: PyTorch cannot trace them (%s)", type(exc).__name__)
        return eager
    log.warning("steps stay slower: the traced layers differ from the eager ones")
    return eager


def _loop(first: Any, others: Any) -> Any:
    """Return `run_layers` in TorchScript, of traced layers, with all weights as first argument."""
    return torch.jit.CompilationUnit("""
        def run(
            weights: List[List[Tensor]], x: Tensor, caches: List[Tensor],
            shared: List[Tensor], outputs: List[Tensor]
        ) -> Tensor:
            for number in range(len(weights)):
                inputs: List[Tensor] = []
                for cache in caches:
                    inputs.append(cache.select(1, number))
                if number == 0:
                    new = first(weights[number], x, inputs + shared)
                else:
                    new = others(weights[number], x, inputs + shared)
                x = new[0]
                for place in range(len(outputs)):
                    outputs[place].select(1, number).copy_(new[place + 1])
            return x
    """).run


def _places(layer: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Return where a layer's weights are, in an order common to all layers of one kind."""
    return [
        (home, name)
        for module in layer.modules()
        for home in (module._parameters, module._buffers)
        for name, weight in home.items()
        if weight is not None
    ]


def _weights(layer: nn.Module) -> list[Tensor]:
    return [home[name] for home, name in _places(layer)]


def _trace(layer: nn.Module, x: Tensor, inputs: list[Tensor]) -> Any:
    """Return a function of a list of weights and of a layer's arguments."""
    weights = _weights(layer)

    def put(values: list[Tensor]) -> None:
        for (home, name), value in zip(_places(layer), values, strict=True):
            home[name] = value

    def run(values: list[Tensor], x: Tensor, inputs: list[Tensor]) -> list[Tensor]:
        put(values)
        return list(layer(x, *inputs))

    try:
        with warnings.catch_warnings():
            # That tracing is deprecated (since 2.9, without a successor that needs no compiler),
            # and that sizes which never vary become constants.
            warnings.simplefilter("ignore")
            return torch.jit.trace(  # type: ignore[no-untyped-call]
                run, (weights, x, inputs), check_trace=False, strict=False
            )
    finally:
        put(weights)
