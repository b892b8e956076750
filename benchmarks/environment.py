"""Describe the machine, its measured product peak, and the versions behind a figure.

    python -m benchmarks.environment

Two processors with the same name and flags can differ by a factor of two, so a description names
family and model, and the rate of matrix products that one thread reaches.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

SIZE = 1024
"""Rows, columns and depth of the product: 2 * SIZE**3 operations, weights within a core's cache."""
PEAK_S = 0.5
"""Seconds of products of each precision; the fastest product counts."""
UNITS = {"int8": "GOP/s", "bfloat16": "GFLOP/s", "float32": "GFLOP/s"}
FLAGS = {"AMX": "amx_tile", "AVX512-BF16": "avx512_bf16", "VNNI": "vnni"}
"""Instruction sets that decide how fast products are; the flags of /proc/cpuinfo contain these."""


def describe(device: str = "cpu") -> str:
    """Return one line: processor, product peak, GPU if used, versions, commit."""
    peaks = ", ".join(f"{name} {rate:.0f} {UNITS[name]}" for name, rate in product_peaks().items())
    return ", ".join(
        [
            processor(),
            f"product peak of one thread: {peaks}",
            *([torch.cuda.get_device_name()] if device == "cuda" else []),
            f"Python {platform.python_version()}",
            f"torch {torch.__version__} on {torch.get_num_threads()} threads",
            f"commit {commit()}",
        ]
    )


def processor_of(description: str) -> str:
    """Return the processor of a description, without product peak and versions."""
    return description.partition(", product peak")[0].partition(", Python")[0]


def processor() -> str:
    """Return the processor's name, microarchitecture, family, model, cores and instruction sets."""
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    parts = [f"{os.cpu_count()} cores"]
    if family := _cpuinfo("cpu family"):
        model = _cpuinfo("model")
        generation = microarchitecture(_cpuinfo("vendor_id"), int(family), int(model))
        parts = [*([generation] if generation else []), f"family {family} model {model}", *parts]
    flags = _cpuinfo("flags")
    sets = "/".join(name for name, flag in FLAGS.items() if flag in flags)
    parts.append(sets or "neither AMX, AVX512-BF16 nor VNNI")
    return f"{name} ({', '.join(parts)})"


def microarchitecture(vendor: str, family: int, model: int) -> str:
    """Return the name of an AMD server core since 2017, or nothing for another processor."""
    if vendor != "AuthenticAMD":
        return ""
    if family == 25:
        zen4 = 0x10 <= model <= 0x1F or 0x60 <= model <= 0x7F or 0xA0 <= model <= 0xAF
        return "Zen 4" if zen4 else "Zen 3"
    return {23: "Zen 2" if model >= 0x30 else "Zen", 26: "Zen 5"}.get(family, "")


@lru_cache
def product_peaks() -> dict[str, float]:
    """Return the rate of matrix products of one thread by precision, in 10^9 operations a second.

    Measured in a process of its own: threads and kernels of the caller would change the rate.
    """
    command = [sys.executable, "-m", "benchmarks.environment", "peaks"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peaks: dict[str, float] = json.loads(done.stdout)
    return peaks


def measure_peaks() -> dict[str, float]:
    """Multiply square matrices of each precision on one thread."""
    torch.set_num_threads(1)
    floats = torch.randn(SIZE, SIZE)
    halves = floats.bfloat16()
    integers = torch.randint(-127, 128, (SIZE, SIZE), dtype=torch.int8)
    weight = torch.ops.onednn.qlinear_prepack(integers, None)
    scales, zeros = torch.ones(SIZE), torch.zeros(SIZE, dtype=torch.int32)
    unsigned = integers.view(torch.uint8)
    output = (1.0, 0, torch.float32, "none", [], "")

    def packed() -> object:
        scaled = (unsigned, 1.0, 128, weight, scales, zeros, None)
        return torch.ops.onednn.qlinear_pointwise(*scaled, *output)

    plain = _peak(lambda: torch._int_mm(integers, integers))
    return {
        "int8": max(plain, _peak(packed)),
        "bfloat16": _peak(lambda: halves @ halves),
        "float32": _peak(lambda: floats @ floats),
    }


def _peak(product: Callable[[], object]) -> float:
    """Return the rate of the fastest product within `PEAK_S`, the first one left out."""
    product()
    fastest, until = float("inf"), time.perf_counter() + PEAK_S
    while (began := time.perf_counter()) < until:
        product()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * SIZE**3 / fastest / 1e9


def _cpuinfo(key: str) -> str:
    """Return the first value of a key in /proc/cpuinfo, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return next((value.strip() for name, value in pairs if name.strip() == key), "")


def commit() -> str:
    """Return the commit, with `-dirty` where files differ from it, or `?` without Git."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "?"
    return done.stdout.strip() or "?"


if __name__ == "__main__":
    print(json.dumps(measure_peaks()) if sys.argv[1:] == ["peaks"] else describe())
