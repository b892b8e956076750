"""Estimate at the warm-up how many live streams a backend holds."""

import time
from collections.abc import Callable

import numpy as np

from asr_server.asr.admission import MAX_PLANNED_UTILISATION
from asr_server.asr.types import Backend, DecodeWork, Kind
from asr_server.audio.units import SAMPLE_RATE

CPU_ROWS, GPU_ROWS = 8, 64
"""Chunks of the step that is timed; on a CPU a larger batch costs hardly less per chunk."""
REPEATS = 3
WHOLE_SERVER_SHARE = 0.7
"""Share of the estimated chunks that a server holds with VAD, previews, speculative finals and the
event loop on the same machine: 67 of 92 streams (benchmarks/RESULTS.md)."""


def estimate(backend: Backend, clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the streams of which every one decodes a chunk each chunk period, at least 1.

    The quickest of a few steps counts: whatever else the machine does only adds time. On a thread
    that runs steps, before any stream is open: the step overwrites the state of its slots.
    """
    rows = min(CPU_ROWS if backend.device == "cpu" else GPU_ROWS, backend.slots - 1)
    chunk = np.random.default_rng(1).normal(0, 0.05, backend.geometry.stride).astype(np.float32)
    works = [DecodeWork(slot, Kind.COMMIT, True, chunk) for slot in range(1, rows + 1)]
    durations = []
    for _ in range(REPEATS):
        began = clock()
        backend.decode(works)
        durations.append(clock() - began)
    per_chunk_s = min(durations) / rows / backend.workers
    period_s = backend.geometry.stride / SAMPLE_RATE
    return max(
        1, int(MAX_PLANNED_UTILISATION * WHOLE_SERVER_SHARE * period_s / max(per_chunk_s, 1e-6))
    )
