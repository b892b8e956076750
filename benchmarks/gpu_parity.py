"""Run the tests for a GPU, and compare its tokens with those of the CPU, for `benchmarks.gpu`."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr_server.asr.types import SecondPassWork
from asr_server.audio.units import SAMPLE_RATE, Pcm
from asr_server.models.registry import EMBEDDED
from benchmarks.full_size import speech
from benchmarks.gpu_options import Figures, Options
from benchmarks.precision import PRECISIONS, differences
from benchmarks.precision import read as read_recording
from tests.support.backends import load_backend
from tests.support.chunks import transcribe_together

GPU_TESTS = "tests/asr"
"""All tests marked `gpu` are there."""
AGREEMENT = 0.995
"""Share of float32's tokens on the CPU that every precision must give."""


def tests(options: Options) -> Iterator[Figures]:
    """Run the tests marked `gpu`; those of a CPU's run are skipped."""
    where = f"{GPU_TESTS}/test_static_shapes.py" if options.reduced else GPU_TESTS
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-m", "gpu", "--tb=short", where]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=max(1, options.left_s)
    )
    print(done.stdout, done.stderr, file=sys.stderr)  # the log
    lines = done.stdout.strip().splitlines() or ["pytest printed nothing"]
    counts = {name.rstrip("s"): int(n) for n, name in re.findall(r"(\d+) ([a-z]+)", lines[-1])}
    ran = counts.get("passed", 0) > 0 or options.device == "cpu"
    yield {
        "summary": lines[-1].strip("= "),
        "counts": counts,
        "failures": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
        "ok": done.returncode == 0 and ran,
    }


def parity(options: Options) -> Iterator[Figures]:
    """Compare the tokens of every precision with those of float32 on the CPU."""
    rows: list[Figures] = []
    folder = Path("tests/data")
    entries = json.loads((folder / "manifest.json").read_text("utf-8"))
    recorded = [read_recording(folder / entry["file"]) for entry in entries]
    models: Sequence[tuple[str, Path, Path | None, list[Pcm]]] = (
        (
            "demo",
            EMBEDDED / "asr",
            EMBEDDED / "second_pass",
            recorded[: 2 if options.reduced else 64],
        ),
        ("random weights", options.model, None, pieces_of_speech(2 if options.reduced else 8)),
    )
    for name, model, second_pass, recordings in models:
        exact = tokens_of(model, second_pass, recordings, "cpu", "float32")
        for dtype in PRECISIONS[options.device][: 2 if options.reduced else None]:
            if options.left_s < 0:
                return
            found = tokens_of(model, second_pass, recordings, options.device, dtype)
            for kind, tokens in found.items():
                row = {"model": f"{name}{kind}", "dtype": dtype}
                row |= differences(exact[kind], tokens)
                rows.append({**row, "ok": agrees(row)})
            yield {"rows": rows, "ok": all(row["ok"] for row in rows)}


def agrees(row: Figures) -> bool:
    """Return whether a row's tokens are close enough to the CPU's.

    Of the demo model float32 must give every token, other precisions 99.5 % of them. The scores of
    random weights lie close together: of these only float32 is held to 99.5 %.
    """
    if row["dtype"] == "float32" and row["model"].startswith("demo"):
        return bool(row["differing"] == 0)
    agreement = 1 - row["differing"] / max(1, row["tokens"])
    return agreement >= AGREEMENT or (
        row["dtype"] != "float32" and row["model"] == "random weights"
    )


def pieces_of_speech(number: int, seconds: float = 6.0) -> list[Pcm]:
    """Return pieces of the benchmark's speech at different places."""
    samples, length = speech(), int(seconds * SAMPLE_RATE)
    apart = (len(samples) - length) // number
    return [samples[n * apart :][:length] for n in range(number)]


def tokens_of(
    model: Path, second_pass: Path | None, recordings: list[Pcm], device: str, dtype: str
) -> dict[str, list[list[str]]]:
    """Return the tokens of each recording, by the kind of pass."""
    count = len(recordings)
    backend = load_backend(
        model,
        second_pass=second_pass,
        warm=device == "cuda",  # a CPU computes the same without
        device=device,
        dtype=dtype,
        max_tasks=count,
        max_batch=count,
    )
    tokens = {"": transcribe_together(backend, recordings)}
    if second_pass:
        results = backend.correct([SecondPassWork(pcm) for pcm in recordings])
        tokens[", second pass"] = [[token.piece for token in one.tokens] for one in results]
    return tokens
