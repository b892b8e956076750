"""Capture calls as CUDA graphs, for batches of a few sizes.

A step launches more than a thousand kernels; one by one that takes the host longer than the GPU
needs to run them. A graph launches them all at once, but always with the shapes and addresses of
its capture: hence a few sizes, to which batches are padded, and `ParaformerState.static`.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

log = logging.getLogger(__name__)

T = TypeVar("T")

WARM_UPS = 3
"""Calls before one is captured: libraries choose and allocate in the first ones."""


def captured_sizes(most: int) -> list[int]:
    """Return the batch sizes to capture: powers of two up to `most`, and `most`."""
    return [1 << n for n in range((most - 1).bit_length())] + [most]


class CudaGraphs(Generic[T]):
    """Replay calls of a function of a batch, for every size whose capture found memory."""

    def __init__(self, function: Callable[[Tensor], T], width: int, most: int) -> None:
        """Capture calls on batches (size, width) of zeros, of the sizes `captured_sizes(most)`.

        The function is called several times: its shapes must not depend on a batch's content, and
        it must have no side effects.
        """
        self._function = function
        self._captured: dict[int, tuple[Tensor, torch.cuda.CUDAGraph, T]] = {}
        """By size: the graph's input, the graph, and its output, valid until its next replay."""
        pool = torch.cuda.graph_pool_handle()  # two of them never run at once
        for size in captured_sizes(most):
            try:
                self._captured[size] = self._capture(torch.zeros(size, width, device="cuda"), pool)
            except torch.OutOfMemoryError:
                log.warning("no memory to capture steps of %d streams: these are slower", size)
                break

    def bucket(self, rows: int) -> int:
        """Return the size to which a batch of so many rows should be padded."""
        return min((size for size in self._captured if size >= rows), default=rows)

    def __call__(self, batch: Tensor) -> T:
        """Return the function's outputs for a batch in pinned memory."""
        captured = self._captured.get(len(batch))
        if captured is None:
            return self._function(batch.to("cuda", non_blocking=True))
        own_batch, graph, outputs = captured
        own_batch.copy_(batch, non_blocking=True)
        graph.replay()
        return outputs

    def _capture(self, batch: Tensor, pool: Any) -> "tuple[Tensor, torch.cuda.CUDAGraph, T]":
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._function(batch)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls must be capturable; others may query the driver.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            outputs = self._function(batch)
        return batch, graph, outputs
