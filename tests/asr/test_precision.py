"""Coarser arithmetic gives the tokens of float32: the demo model on its recordings.

`benchmarks.precision` measures the same on hundreds of recordings.
"""

import itertools
import json
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch

from asr_server.asr.loading.precision import best_dtype
from asr_server.audio.units import Pcm, from_ms
from asr_server.models.registry import EMBEDDED
from tests.support.backends import load_backend
from tests.support.chunks import transcribe_together
from tests.support.decoding import decode_wave

DATA = Path(__file__).parents[1] / "data"
DELAYS_MS = (0, 300)
"""Silence before a recording, in turns, so that chunks' edges fall on speech and on pauses."""
AGREEMENT = 0.995


@pytest.fixture(scope="module")
def recordings() -> list[Pcm]:
    sounds = []
    for entry in json.loads((DATA / "manifest.json").read_text("utf-8")):
        sounds.append(decode_wave((DATA / entry["file"]).read_bytes()))
    delays = itertools.cycle(DELAYS_MS)
    return [np.pad(sound, (from_ms(next(delays)), 0)) for sound in sounds]


def decode(device: str, dtype: str, recordings: list[Pcm]) -> list[list[str]]:
    count = len(recordings)
    options = {"device": device, "dtype": dtype, "max_tasks": count, "max_batch": count}
    # A CPU computes the same without the warm-up (test_tracing.py), a GPU captures graphs in it.
    backend = load_backend(EMBEDDED / "asr", warm=device == "cuda", **options)
    return transcribe_together(backend, recordings)


@pytest.fixture(scope="module")
def exact(device: str, recordings: list[Pcm]) -> list[list[str]]:
    tokens = decode(device, "float32", recordings)
    assert sum(map(len, tokens)) > 100  # else a single token would decide
    return tokens


FOR_GPUS = pytest.param("float16", marks=pytest.mark.gpu)


@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float32")]
)
def test_a_gpu_computes_in_a_precision_with_the_range_of_float32(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert best_dtype(torch.device("cuda")) == dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", FOR_GPUS])
def test_coarser_numbers_give_the_tokens_of_float32(
    device: str, dtype: str, recordings: list[Pcm], exact: list[list[str]]
) -> None:
    if (device, dtype) in {("cpu", "float16"), ("cuda", "int8")}:
        pytest.skip(f"{dtype} is not for this device")
    expected = [" ".join(tokens) for tokens in exact]
    coarse = [" ".join(tokens) for tokens in decode(device, dtype, recordings)]
    assert jiwer.wer(expected, coarse) <= 1 - AGREEMENT
