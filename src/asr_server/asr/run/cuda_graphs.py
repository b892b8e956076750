"""Calls captured as CUDA graphs, for batches of a few sizes.

A step launches more than a thousand kernels; one by one that takes the host longer than the GPU
needs to run them. A graph launches them all at once, but always with the shapes and addresses it
was captured with: hence a few sizes, to which batches are padded, and `ParaformerState.static`.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

log = logging.getLogger(__name__)

T = TypeVar("T")

WARM_UPS = 3
"""Calls before one is captured: libraries choose and allocate in the first ones."""


def sizes(most: int) -> list[int]:
    """The sizes captured: powers of two up to `most`, and `most`."""
    return [1 << n for n in range((most - 1).bit_length())] + [most]


@dataclass(frozen=True, slots=True)
class _Captured(Generic[T]):
    batch: Tensor
    """Where the graph reads."""
    answer: T
    """Where it writes: valid until its next replay."""
    graph: "torch.cuda.CUDAGraph"


class Graphs(Generic[T]):
    """A function of a batch whose calls are replayed, for every size for which there was memory."""

    def __init__(self, function: Callable[[Tensor], T], width: int, most: int) -> None:
        """Capture calls on batches (size, width), of zeros, of all `sizes` up to `most`.

        The function must be indifferent to what is in a batch, and leave alone what is outside of
        it: it is called several times.
        """
        self._function = function
        self._captured: dict[int, _Captured[T]] = {}
        pool = torch.cuda.graph_pool_handle()  # never do two of them run at once
        for size in sizes(most):
            try:
                self._captured[size] = self._capture(torch.zeros(size, width, device="cuda"), pool)
            except torch.OutOfMemoryError:
                log.warning("no memory to capture steps of %d streams: they are slower", size)
                break

    def padded(self, rows: int) -> int:
        """The size a batch of so many rows should have."""
        return min((size for size in self._captured if size >= rows), default=rows)

    def __call__(self, batch: Tensor) -> T:
        """Answer a batch in pinned memory."""
        captured = self._captured.get(len(batch))
        if captured is None:
            return self._function(batch.to("cuda", non_blocking=True))
        captured.batch.copy_(batch, non_blocking=True)
        captured.graph.replay()
        return captured.answer

    def _capture(self, batch: Tensor, pool: Any) -> _Captured[T]:
        current, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._function(batch)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Only what this thread does must be capturable; others may ask the driver how things are.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            answer = self._function(batch)
        return _Captured(batch, answer, graph)
