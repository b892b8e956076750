"""Run layers one after the other, each with its own part of the caches."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor, nn

LayerLoop = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], Tensor]
"""Runs all layers on `x`, `caches` (slots, L, ...), tensors that the layers share, and `outputs`.

`outputs` (rows, L, ...) receive what each layer adds to the caches, in one piece for all layers:
small pieces among all that layers allocate and free would fragment the heap.
"""


def run_layers(
    layers: Iterable[nn.Module],
    x: Tensor,
    caches: Sequence[Tensor],
    shared: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> Tensor:
    """Return `x` after all layers; see `LayerLoop`."""
    for number, layer in enumerate(layers):
        x, *new = layer(x, *(cache.select(1, number) for cache in caches), *shared)
        for output, part in zip(outputs, new, strict=True):
            output.select(1, number).copy_(part)
    return x
