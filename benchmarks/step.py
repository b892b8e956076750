"""Measure a step: the engine at several batch sizes, its matrix products alone, and FunASR.

    python -m benchmarks.step                      the embedded demo model
    python -m benchmarks.step --size full          random weights in the production model's size
    python -m benchmarks.step --size full --device cuda --dtypes float16 --batches 1,16,64,256

Everything is measured in one run on one machine; run it on an idle one and compare ratios. On a CPU
all rows use the same number of threads, which the table names. A stream counts as real-time when
its share of the steps, VAD included, fits into its audio.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from asr_server.asr.loading.packing import PackedLinear
from asr_server.asr.loading.quantise import ZERO, Int8Linear
from asr_server.asr.nn.paraformer import Paraformer
from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.types import DecodeWork, Kind, VadWork
from asr_server.audio.units import SAMPLE_RATE
from benchmarks.environment import describe
from benchmarks.full_size import PACE, full_size, speech
from tests.support.backends import load_backend

DEMO = Path("src/asr_server/models/demo/asr")
LIMIT = "GEMM alone"
WINDOW = 512
TOKENS = round(PACE)
"""Tokens that a row fires in a step, which decide the size of the decoder's products."""
Linear = torch.nn.Linear | PackedLinear | Int8Linear
Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Measured:
    """Hold the duration of one step and its number of streams."""

    name: str
    dtype: str
    streams: int
    threads: int
    step_s: float
    period_s: float
    """Audio of each stream in a step."""

    @property
    def per_stream_ms(self) -> float:
        """Return the milliseconds of one stream's share."""
        return 1000 * self.step_s / self.streams

    @property
    def real_time(self) -> float:
        """Return the streams in real time, if every step takes as long."""
        return self.period_s * self.streams / self.step_s


def fastest(function: Callable[[], object], times: int = 5) -> float:
    """Return the median of some runs after one that does not count, in seconds."""
    function()
    taken = []
    for _ in range(times):
        _wait_for_gpu()
        began = time.perf_counter()
        function()
        _wait_for_gpu()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def engine_steps(
    model: Path, dtype: str, batches: list[int], device: str = "cpu"
) -> list[Measured]:
    """Measure steps of whole chunks: VAD, features, encoder, CIF, decoder."""
    most = max(batches)
    backend = load_backend(
        model,
        warm=True,
        device=device,
        dtype=dtype,
        max_tasks=most,
        max_batch=most,
    )
    measured = []
    for streams in track(batches, f"our engine, {dtype}"):
        detect, decode = steps_of(backend, streams)

        def step(detect: Step = detect, decode: Step = decode) -> None:
            detect()
            decode()

        seconds, period_s = fastest(step), backend.geometry.stride / SAMPLE_RATE
        threads = backend.worker_threads
        measured.append(Measured("our engine", dtype, streams, threads, seconds, period_s))
    return measured


def steps_of(backend: PyTorchBackend, streams: int) -> tuple[Step, Step]:
    """Return a VAD step and a decode step of whole chunks, not a sentence's first ones."""
    stride, context = backend.geometry.stride, backend.geometry.context
    samples = speech()
    apart = (len(samples) - 2 * stride) // streams
    audio = [samples[row * apart :][: 2 * stride] for row in range(streams)]
    slots = range(1, streams + 1)
    later = [
        DecodeWork(n, Kind.COMMIT, False, audio[n - 1][stride - context : 2 * stride])
        for n in slots
    ]
    windows = [VadWork(n, False, audio[n - 1][: stride // WINDOW * WINDOW]) for n in slots]
    backend.decode([DecodeWork(n, Kind.COMMIT, True, audio[n - 1][:stride]) for n in slots])
    return lambda: backend.detect(windows), lambda: backend.decode(later)


def gemm_limit(
    model: Path, dtype: str, streams: int, threads: int, device: str = "cpu"
) -> Measured:
    """Measure the matrix products of a step alone, each weight once, at the step's shapes.

    Of 8-bit layers the integer product only, in the quicker of the two ways there are.
    """
    paraformer = load_backend(model, device=device, dtype=dtype, max_tasks=1).paraformer
    torch.set_num_threads(threads)
    step_s = fastest(products_of(paraformer, streams))
    return Measured(LIMIT, dtype, streams, threads, step_s, paraformer.config.stride * 0.06)


def products_of(paraformer: Paraformer, streams: int) -> Step:
    """Return a function that computes the matrix products of a decode step."""
    config = paraformer.config
    products = []
    for name, layer in paraformer.named_modules():
        if isinstance(layer, Linear):
            over_frames = name.startswith("encoder") or name.endswith("linear_k_v")
            rows = streams * (config.frames if over_frames else TOKENS)
            products.append(_product(layer, rows))

    @torch.inference_mode()
    def run() -> None:
        for product in products:
            product()

    return run


def _product(layer: Linear, rows: int) -> Callable[[], object]:
    if not isinstance(layer, Int8Linear):
        like = layer if isinstance(layer, PackedLinear) else layer.weight
        device = getattr(like, "device", "cpu")  # packed weights are a CPU's
        floats = torch.randn(rows, layer.in_features, dtype=like.dtype, device=device)
        return lambda: layer(floats)
    integers = torch.randint(-127, 128, (rows, layer.in_features), dtype=torch.int8)
    weight = torch.randint(-127, 128, (layer.in_features, layer.out_features), dtype=torch.int8)
    unsigned = integers.view(torch.uint8).add(ZERO)
    ways = [lambda: torch._int_mm(integers, weight), lambda: layer.product(unsigned)]
    return min(ways, key=fastest)


def funasr_generate(model: Path, threads: int, device: str = "cpu") -> Measured:
    """Measure FunASR's `AutoModel.generate`, one stream, chunk by chunk."""
    from funasr import AutoModel

    recogniser = AutoModel(
        model=str(model),
        disable_update=True,
        disable_pbar=True,
        device=device,
        log_level="ERROR",
        ncpu=threads,
    )
    audio = speech()[: 9 * SAMPLE_RATE]
    seconds = []
    for _ in range(2):
        cache: dict[str, object] = {}
        for chunk in range(15):
            piece = audio[chunk * 9_600 : (chunk + 1) * 9_600]
            began = time.perf_counter()
            recogniser.generate(
                input=np.ascontiguousarray(piece),
                cache=cache,
                is_final=False,
                chunk_size=[0, 10, 5],
                encoder_chunk_look_back=4,
                decoder_chunk_look_back=1,
            )
            seconds.append(time.perf_counter() - began)
    step_s = statistics.median(seconds[5:])
    return Measured("FunASR generate", "float32", 1, threads, step_s, 0.6)


def show(console: Console, measured: list[Measured], peer: Measured | None) -> None:
    """Print the table."""
    table = Table(
        "what",
        "dtype",
        "streams",
        "threads",
        "step ms",
        "ms a stream",
        "of limit",
        "real time",
        "x FunASR",
    )
    limits = {(one.dtype, one.streams): one.step_s for one in measured if one.name == LIMIT}
    for one in measured:
        ratio = f"{one.real_time / peer.real_time:.1f}" if peer else "-"
        limit = limits.get((one.dtype, one.streams))
        table.add_row(
            one.name,
            one.dtype,
            str(one.streams),
            str(one.threads),
            f"{1000 * one.step_s:.1f}",
            f"{one.per_stream_ms:.2f}",
            f"{limit / one.step_s:.0%}" if limit else "-",
            f"{one.real_time:.1f}",
            ratio,
        )
    console.print(table)


def main(
    size: Annotated[str, typer.Option(help="`demo`, `full` or a model directory.")] = "demo",
    dtypes: Annotated[str, typer.Option(help="Separated by commas.")] = "float32,bfloat16",
    batches: Annotated[str, typer.Option(help="Streams a step.")] = "1,4,16,32",
    funasr: Annotated[bool, typer.Option(help="Also run FunASR's own loop.")] = True,
    device: Annotated[str, typer.Option(help="`cpu` or `cuda`.")] = "cpu",
) -> None:
    """Measure steps and print a table."""
    model = full_size() if size == "full" else DEMO if size == "demo" else Path(size)
    sizes = [int(n) for n in batches.split(",")]
    measured: list[Measured] = []
    for dtype in dtypes.split(","):
        steps = engine_steps(model, dtype, sizes, device)
        measured += [*steps, gemm_limit(model, dtype, sizes[-1], steps[-1].threads, device)]
    peer = funasr_generate(model, measured[0].threads, device) if funasr else None
    console = Console(width=120)
    console.print(f"{model}: {describe(device)}")
    show(console, [*([peer] if peer else []), *measured], peer)


if __name__ == "__main__":
    typer.run(main)
