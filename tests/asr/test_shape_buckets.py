"""Steps have few sizes, and the warm-up compiles all that these need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_server.asr.loading.packing import can_pack
from asr_server.asr.run.shape_buckets import bucket, buckets

STEPS = """
import random, sys
from pathlib import Path
from asr_server.asr.types import DecodeWork, VadWork, Kind
from asr_server.models.registry import EMBEDDED
from tests.support.backends import load_backend
from tests.support.chunks import speechlike

model, dtype = sys.argv[1:]
backend = load_backend(
    Path(model), EMBEDDED / "punctuation", warm=True, dtype=dtype, max_tasks=24, max_batch=24
)
print("warm", flush=True)

order = random.Random(1)
sound = speechlike(20.0)
fired = set()
for rows in [*range(1, 9), *range(1, 17), 17, 19, 21, 24]:  # every bucket
    works = []
    for slot in order.sample(range(1, 25), rows):
        kind = order.choice(list(Kind))
        length = backend.geometry.stride
        if kind is not Kind.COMMIT:
            length = order.randrange(400, length)
        begin = order.randrange(len(sound) - length)
        prefix = tuple("今天天气很好"[: order.randrange(7)])
        works.append(
            DecodeWork(slot, kind, True, sound[begin : begin + length], prefix, kind.final)
        )
    windows = [sound[: 512 * order.randint(1, 4)] for _ in works]
    backend.detect([VadWork(w.slot, False, pcm) for w, pcm in zip(works, windows)])
    for result in backend.decode(works):
        fired.add(len(result.tokens))
assert len(fired) > 3, fired
"""
"""Runs steps of every size behind a line after the warm-up."""


@pytest.mark.skipif(not can_pack(torch.device("cpu"), torch.float32), reason="oneDNN is on x86")
@pytest.mark.parametrize(
    "dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow), "int8"]
)
def test_once_warm_no_step_of_any_size_compiles_anything(model_dir: Path, dtype: str) -> None:
    """The model has more layers than the warm-up runs; a process of its own has an empty cache."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS, model_dir, dtype],
        env={**os.environ, "ONEDNN_VERBOSE": "profile_create"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition("warm\n")
    assert before.count("create:cache_miss") > 50  # fewer on one thread than on many
    assert [line for line in after.splitlines() if "create:cache_miss" in line] == []


@given(st.integers(1, 10_000), st.integers(1, 6))
def test_a_bucket_is_the_next_size_that_is_zero_behind_its_first_digits(count, digits):
    size = bucket(count, digits)
    assert count <= size < count * (1 + 2 ** (1 - digits))
    assert format(size, "b")[digits:].strip("0") == ""
    assert bucket(size, digits) == size
    assert not any(bucket(between, digits) == between for between in range(count, size))


def test_buckets_are_all_sizes_that_counts_are_rounded_to():
    assert buckets(13, 2) == [1, 2, 3, 4, 6, 8, 12, 16]
    assert buckets(20, 4) == [*range(1, 17), 18, 20]
