"""Measure what coarser arithmetic changes in the text: agreement with float32, and error rates.

    python -m benchmarks.precision [MANIFEST...]        writes benchmarks/results/precision.json

The embedded demo model decodes whole recordings of the manifests (`file`, a WAV beside the
manifest, and `text`; one JSON object a line) without a VAD, in batches, in every precision that the
device supports. Without a manifest it decodes the demo model's test set A, 400 recordings that
`python -m tools.demo_model test-sets` makes, or where that is missing the few in tests/data.
"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import jiwer
import torch
import typer
from rich.console import Console
from rich.progress import track

from asr_server.audio.units import SAMPLE_RATE, Pcm
from asr_server.models.registry import EMBEDDED
from benchmarks.environment import describe
from tests.support.backends import load_backend
from tests.support.chunks import transcribe_together
from tests.support.decoding import decode_wave

RESULTS = Path("benchmarks/results/precision.json")
MANIFESTS = (Path("build/demo_model/test_sets/A.jsonl"), Path("tests/data/manifest.json"))
BATCH = 32
PRECISIONS = {
    "cpu": ("float32", "bfloat16", "int8"),
    "cuda": ("float32", "bfloat16", "float16"),
}


def read(path: Path) -> Pcm:
    """Return a recording at 16 kHz."""
    return decode_wave(path.read_bytes())


def listed(manifest: Path) -> list[dict[str, Any]]:
    """Return a manifest's entries."""
    text = manifest.read_text("utf-8")
    entries: list[dict[str, Any]] = (
        json.loads(text)
        if manifest.suffix == ".json"
        else [json.loads(line) for line in text.splitlines()]
    )
    return entries


def decode(device: str, dtype: str, recordings: list[Pcm]) -> tuple[list[list[str]], float]:
    """Return the tokens of every recording, and the seconds that decoding took."""
    backend = load_backend(EMBEDDED / "asr", device=device, dtype=dtype, max_tasks=BATCH)
    tokens: list[list[str]] = []
    began = time.perf_counter()
    for begin in track(range(0, len(recordings), BATCH), dtype):
        tokens += transcribe_together(backend, recordings[begin : begin + BATCH])
    return tokens, time.perf_counter() - began


def main(
    manifests: Annotated[list[Path] | None, typer.Argument(help="With `file` and `text`.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    to: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULTS,
) -> None:
    """Measure and write."""
    manifests = manifests or [next(path for path in MANIFESTS if path.exists())]
    entries = [(manifest.parent, entry) for manifest in manifests for entry in listed(manifest)]
    recordings = [read(folder / entry["file"]) for folder, entry in entries]
    texts = [entry["text"] for _, entry in entries]
    rows: list[dict[str, Any]] = []
    exact: list[list[str]] = []
    for dtype in PRECISIONS[device]:
        tokens, seconds = decode(device, dtype, recordings)
        exact = exact or tokens
        rows.append(
            {
                "dtype": dtype,
                **differences(exact, tokens),
                "cer": jiwer.cer(texts, ["".join(row) for row in tokens]),
                "seconds": seconds,
            }
        )
    report = {
        "environment": describe(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "sets": [manifest.stem for manifest in manifests],
        "recordings": len(recordings),
        "audio_s": sum(map(len, recordings)) / SAMPLE_RATE,
        "rows": rows,
    }
    to.parent.mkdir(exist_ok=True)
    to.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    Console(width=110).print(report)


def differences(exact: list[list[str]], tokens: list[list[str]]) -> dict[str, int]:
    """Return the number of tokens, and how many tokens and recordings differ."""
    words = jiwer.process_words(_spaced(exact), _spaced(tokens))
    return {
        "tokens": sum(map(len, exact)),
        "differing": words.substitutions + words.deletions + words.insertions,
        "recordings_differing": sum(a != b for a, b in zip(exact, tokens, strict=True)),
    }


def _spaced(tokens: list[list[str]]) -> list[str]:
    return [" ".join(row) for row in tokens]


if __name__ == "__main__":
    typer.run(main)
