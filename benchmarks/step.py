"""What a step costs: our engine at several batch sizes, the machine's GEMM limit, and FunASR.

    python -m benchmarks.step                      the embedded demo model
    python -m benchmarks.step --size full          random weights in the production model's size
    python -m benchmarks.step --size full --device cuda --dtypes float16 --batches 1,16,64,256

Everything is measured in one run on one machine; run it on an idle one and compare ratios. A
stream counts as real-time when its share of the steps, the VAD included, fits into its audio.
"""

import os
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
from asr_server.asr.run.backend import PyTorchBackend, PyTorchOptions
from asr_server.asr.types import DecodeWork, Kind, Step, VadWork
from asr_server.audio.units import SAMPLE_RATE
from benchmarks.environment import describe
from benchmarks.full_size import PACE, full_size, speech

DEMO = Path("src/asr_server/models/demo/asr")
LIMIT = "GEMM alone"
WINDOW = 512
TOKENS = round(PACE)
"""What a row fires in a step, so that the decoder's products are counted."""
Linear = torch.nn.Linear | PackedLinear | Int8Linear


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of one step and how many streams rode it."""

    name: str
    dtype: str
    streams: int
    step_s: float
    period_s: float
    """Audio that a step brings each stream forward."""

    @property
    def per_stream_ms(self) -> float:
        return 1000 * self.step_s / self.streams

    @property
    def real_time(self) -> float:
        """Streams in real time, if every step went like this one."""
        return self.period_s * self.streams / self.step_s


def fastest(function: Callable[[], object], times: int = 5) -> float:
    """The median of some runs after one that does not count, in seconds."""
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
    """Steps of whole chunks with everything in them: VAD, features, encoder, CIF, decoder."""
    most = max(batches)
    options = PyTorchOptions(device=device, dtype=dtype, slots=most, max_batch=most)
    backend = PyTorchBackend.load(model, options, None)
    backend.warm_up()
    stride, context = backend.geometry.stride, backend.geometry.context
    said = speech()
    apart = (len(said) - 2 * stride) // max(batches)
    audio = [said[row * apart :][: 2 * stride] for row in range(max(batches))]
    measured = []
    for streams in track(batches, f"our engine, {dtype}"):
        rows = range(streams)
        first = [DecodeWork(n, Kind.COMMIT, True, audio[n][:stride]) for n in rows]
        later = [
            DecodeWork(n, Kind.COMMIT, False, audio[n][stride - context : 2 * stride]) for n in rows
        ]
        judge = [VadWork(n, audio[n][: stride // WINDOW * WINDOW]) for n in rows]
        backend.step(Step(opened=tuple(rows), chunks=tuple(first)))
        step = Step(judge=tuple(judge), chunks=tuple(later))
        seconds = fastest(lambda step=step: backend.step(step))
        backend.step(Step(closed=tuple(rows)))
        measured.append(Measured("our engine", dtype, streams, seconds, stride / SAMPLE_RATE))
    return measured


def gemm_limit(model: Path, dtype: str, streams: int, device: str = "cpu") -> Measured:
    """The matrix products of a step alone, each weight once, at the step's shapes.

    Of 8-bit layers the integer product only, in the quicker of the two ways there are.
    """
    options = PyTorchOptions(device=device, dtype=dtype, slots=1)
    paraformer = PyTorchBackend.load(model, options, None)._paraformer
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

    return Measured(LIMIT, dtype, streams, fastest(run), config.stride * 0.06)


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


def funasr_generate(model: Path, device: str = "cpu") -> Measured:
    """FunASR's `AutoModel.generate`, one stream, chunk by chunk."""
    from funasr import AutoModel

    recogniser = AutoModel(
        model=str(model),
        disable_update=True,
        disable_pbar=True,
        device=device,
        log_level="ERROR",
        ncpu=os.cpu_count(),
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
    torch.set_num_threads(os.cpu_count() or 1)  # it sets its own number, for the whole process
    return Measured("FunASR generate", "float32", 1, statistics.median(seconds[5:]), 0.6)


def show(console: Console, measured: list[Measured], peer: Measured | None) -> None:
    table = Table(
        "what", "dtype", "streams", "step ms", "ms a stream", "of limit", "real time", "x FunASR"
    )
    limits = {(one.dtype, one.streams): one.step_s for one in measured if one.name == LIMIT}
    for one in measured:
        ratio = f"{one.real_time / peer.real_time:.1f}" if peer else "-"
        limit = limits.get((one.dtype, one.streams))
        table.add_row(
            one.name,
            one.dtype,
            str(one.streams),
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
    peer = funasr_generate(model, device) if funasr else None
    for dtype in dtypes.split(","):
        measured += engine_steps(model, dtype, sizes, device)
        measured.append(gemm_limit(model, dtype, sizes[-1], device))
    console = Console(width=120)
    console.print(f"{model}: {describe(device)}")
    show(console, [*([peer] if peer else []), *measured], peer)


if __name__ == "__main__":
    typer.run(main)
