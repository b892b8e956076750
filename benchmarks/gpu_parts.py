"""Measure one part of `benchmarks.gpu`; every part runs in a process of its own.

    python -m benchmarks.gpu_parts PART OPTIONS FILE        OPTIONS as JSON, see `Options`

After an error a CUDA context cannot be used any more, so that parts in one process would fail
together. A part is a generator of its figures so far: what it has measured is written at once.
"""

import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch

from asr_server.asr.run.cuda_graphs import CudaGraphs
from asr_server.asr.types import DecodeWork, Kind
from asr_server.audio.units import Pcm
from asr_server.load.search import binary, held
from benchmarks.event_loop import lateness, note_lateness
from benchmarks.full_size import speech
from benchmarks.gpu_options import Figures, Options, write
from benchmarks.gpu_parity import parity, tests
from benchmarks.paced import summary
from benchmarks.peer_worker import OwnEngine
from benchmarks.second_pass_worker import Own as SecondPassEngine
from benchmarks.second_pass_worker import measure as measure_sentences
from benchmarks.step import Step, fastest, products_of, steps_of
from tests.support.backends import load_backend

MAX_BATCH = 256
MOST_STREAMS = 4096
SLOT_BYTES, SPARE_BYTES = 6_000_000, 8_000_000_000
"""Upper bounds of a stream's state and of what the model and its graphs take, full size."""
RUN_S, BETWEEN_RUNS_S = 7.2, 1.0
"""A run has twelve chunks of each stream; the last one may be in flight at its end."""


def weights(options: Options) -> Iterator[Figures]:
    """Make the models, so that no other part's time contains that."""
    yield {"models": [str(options.model), str(options.second_pass_model)]}


# Steps -------------------------------------------------------------------------------------------


def steps(options: Options) -> Iterator[Figures]:
    """Measure a step by its number of streams: as the server runs it, and launched kernel by
    kernel; and its matrix products alone."""
    sizes = [1 << n for n in range(3 if options.reduced else 10)]
    backend = load_backend(
        options.model,
        warm=True,
        device=options.device,
        dtype=options.precision,
        max_tasks=sizes[-1],
        max_batch=sizes[-1],
    )
    rows: list[Figures] = []
    for streams in sizes:
        if options.left_s < 0:
            return
        detect, decode = steps_of(backend, streams)
        row: Figures = {"streams": streams, "vad_ms": 1000 * fastest(detect)}
        row["step_ms"] = 1000 * fastest(decode)
        graphs, backend._graphs = backend._graphs, None
        row["launched_ms"] = 1000 * fastest(decode) if graphs else None
        backend._graphs = graphs
        row["captured"] = graphs is not None and streams in graphs._captured
        products = captured(products_of(backend.paraformer, streams), options.device)
        row["products_ms"] = 1000 * fastest(products)
        rows.append(row)
        yield {"dtype": options.precision, "rows": rows}


def captured(function: Step, device: str) -> Step:
    """Return a function without inputs as a CUDA graph, if the device has these."""
    if device == "cpu":
        return function
    graphs = CudaGraphs(lambda _: function(), 1, 1)
    nothing = torch.zeros(1, 1).pin_memory()
    return lambda: graphs(nothing)


# Memory ------------------------------------------------------------------------------------------


def memory(options: Options) -> Iterator[Figures]:
    """Measure the device's memory with two numbers of slots: the difference is the streams'."""
    batch, sizes = (2, (4, 8)) if options.reduced else (64, (64, 320))
    before = used_mb(options.device)
    rows: list[Figures] = []
    for streams in sizes:
        backend = load_backend(
            options.model,
            warm=options.device == "cuda",  # captures graphs, which take memory
            device=options.device,
            dtype=options.precision,
            max_tasks=streams,
            max_batch=batch,
        )
        silence = speech()[: backend.geometry.stride]
        for first in range(1, streams + 1, batch):
            slots = range(first, min(first + batch, streams + 1))
            backend.decode([DecodeWork(slot, Kind.COMMIT, True, silence) for slot in slots])
        rows.append({"streams": streams, "used_mb": used_mb(options.device) - before})
        del backend
        gc.collect()
        if options.device == "cuda":
            torch.cuda.empty_cache()
        yield {"dtype": options.precision, "max_batch": batch, "rows": rows}
    few, many = rows
    a_stream_mb = (many["used_mb"] - few["used_mb"]) / (many["streams"] - few["streams"])
    yield {
        "dtype": options.precision,
        "max_batch": batch,
        "rows": rows,
        "a_stream_mb": a_stream_mb,
        "idle_mb": few["used_mb"] - few["streams"] * a_stream_mb,
    }


def used_mb(device: str) -> float:
    """Return the memory in use: the GPU's, by all processes, or this process's on a CPU."""
    if device == "cuda":
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        return (total - free) / 1e6
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


# Second pass and streams -------------------------------------------------------------------------


def second_pass(options: Options) -> Iterator[Figures]:
    """Measure the milliseconds a sentence of the second pass, by length and batch."""
    lengths, batches = ((2.0,), (1, 2)) if options.reduced else ((2.0, 5.0, 10.0), (1, 8, 32))
    for_s = 0.1 if options.reduced else 1.0
    dtype, model = options.precision, options.model
    engine = SecondPassEngine(options.second_pass_model, 0, dtype, model, options.device)
    rows: list[Figures] = []
    for seconds, batch in product(lengths, batches):
        if options.left_s < 0:
            return
        taken = measure_sentences(engine, speech(), seconds, batch, for_s)
        ms = sorted(taken["ms"])[len(taken["ms"]) // 2] / batch
        rows.append({"seconds": seconds, "batch": batch, "ms": ms, "tokens": taken["tokens"]})
        yield {"dtype": dtype, "rows": rows}


def streams(options: Options) -> Iterator[Figures]:
    """Search the most paced streams whose chunks are decoded in time, until the time is over."""
    first, most, run_s = (2, 2, 6.6) if options.reduced else (256, most_streams(options), RUN_S)
    max_batch = 4 if options.reduced else MAX_BATCH
    engine = OwnEngine(
        options.model,
        options.precision,
        0,
        device=options.device,
        max_tasks=most,
        max_batch=max_batch,
    )
    samples, tried, rows = speech(), dict[int, bool](), list[Figures]()
    figures: Figures = {"dtype": options.precision, "max_batch": max_batch, "most": most}
    with running(engine) as call:
        while (number := binary(tried, first, most)) is not None and options.left_s > run_s:
            row = call(paced_run(engine, samples, number, run_s))
            tried[number] = row["sustained"]
            rows.append(row)
            searched = binary(tried, first, most) is None
            yield {**figures, "rows": rows, "held": held(tried), "searched": searched}


@contextmanager
def running(engine: OwnEngine) -> Iterator[Callable[[Coroutine[Any, Any, Figures]], Figures]]:
    """Run an engine in an event loop; yields a function that runs a coroutine in it."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(engine.start())
        try:
            yield loop.run_until_complete
        finally:
            loop.run_until_complete(engine.stop())
    finally:
        loop.close()


async def paced_run(engine: OwnEngine, samples: Pcm, number: int, seconds: float) -> Figures:
    """Run paced streams and return their figures, with the lateness of their event loop."""
    await asyncio.sleep(BETWEEN_RUNS_S)
    late: list[float] = []
    sleeping = asyncio.create_task(note_lateness(late), name="lateness")
    answer = await engine.paced(samples, number, seconds)
    sleeping.cancel()
    run = summary(number, seconds, [answer])
    return {**asdict(run), "sustained": run.sustained, "event_loop": lateness(late)}


def most_streams(options: Options) -> int:
    """Return the most streams tried, for which there is memory."""
    if options.device == "cpu":
        return MAX_BATCH
    room = torch.cuda.mem_get_info()[0] - SPARE_BYTES
    return max(1, min(MOST_STREAMS, room // SLOT_BYTES))


PARTS: dict[str, Callable[[Options], Iterator[Figures]]] = {
    part.__name__: part for part in (weights, tests, parity, steps, memory, second_pass, streams)
}


def main(name: str, options: str, path: str) -> None:
    """Measure a part and write its figures whenever there are more."""
    for figures in PARTS[name](Options(**json.loads(options))):
        write(Path(path), figures)


if __name__ == "__main__":
    main(*sys.argv[1:])
