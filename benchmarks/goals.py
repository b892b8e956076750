"""Name the goals that benchmarks compare with; other modules of this package import them here."""

from asr_server.load.figures import Goals
from benchmarks.peer_worker import CHUNK_S

GOALS = Goals()
"""Latency goals of the whole server: first text, final and tail, 95th percentiles."""

CHUNK_DELAY_S = CHUNK_S
"""Streams of an engine are sustained if 95 % of their chunks are decoded within a chunk period."""
