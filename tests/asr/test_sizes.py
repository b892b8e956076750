"""A step asks for few sizes, and what they need is compiled before the first stream comes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_server.asr.loading.packing import packs
from asr_server.asr.run.shape_buckets import rounded, sizes

STEPS = """
import random, sys, wave
from pathlib import Path
import numpy as np
from asr_server.asr.run.backend import PyTorchBackend, PyTorchOptions
from asr_server.asr.types import DecodeWork, VadWork, Kind, Step
from asr_server.models.catalog import DEMO
from asr_server.models.registry import choose
from asr_server.settings import Settings

model = choose(Settings(model=DEMO))
options = PyTorchOptions("cpu", sys.argv[1], slots=24)
backend = PyTorchBackend.load(model.path, options, model.punctuation)
backend.warm_up()
print("warm", flush=True)

order = random.Random(1)
said = []
for path in sorted(Path("tests/data").glob("*.wav"))[:4]:
    with wave.open(str(path)) as file:
        said.append(np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768))
sound = np.concatenate(said)
backend.step(Step(opened=tuple(range(24))))
fired = set()
for number in range(60):
    works = []
    for stream in order.sample(range(24), order.randint(1, 24)):
        kind = order.choice(list(Kind))
        length = backend.geometry.stride
        if kind is not Kind.COMMIT:
            length = order.randrange(400, length)
        begin = order.randrange(len(sound) - length)
        prefix = tuple("今天天气很好"[: order.randrange(7)])
        works.append(
            DecodeWork(stream, kind, True, sound[begin : begin + length], prefix, kind.final)
        )
    judge = tuple(VadWork(work.stream, sound[: 512 * order.randint(1, 4)]) for work in works)
    for heard in backend.step(Step(judge=judge, chunks=tuple(works))).heard:
        fired.add(len(heard.tokens))
assert len(fired) > 3, fired
"""
"""Steps of every size on the demo model, behind a line that says it is warm."""


@pytest.mark.skipif(not packs(torch.device("cpu"), torch.float32), reason="oneDNN is on x86")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_once_warm_no_step_of_any_size_compiles_anything(dtype: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, dtype],
        env={**os.environ, "ONEDNN_VERBOSE": "profile_create"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition("warm\n")
    assert before.count("create:cache_miss") > 100
    assert [line for line in after.splitlines() if "create:cache_miss" in line] == []


@given(st.integers(1, 10_000), st.integers(1, 6))
def test_a_number_is_rounded_up_to_the_next_that_is_zero_behind_its_first_digits(count, digits):
    size = rounded(count, digits)
    assert count <= size < count * (1 + 2 ** (1 - digits))
    assert format(size, "b")[digits:].strip("0") == ""
    assert rounded(size, digits) == size
    assert not any(rounded(between, digits) == between for between in range(count, size))


def test_sizes_are_all_that_numbers_are_rounded_to():
    assert sizes(13, 2) == [1, 2, 3, 4, 6, 8, 12, 16]
    assert sizes(20, 4) == [*range(1, 17), 18, 20]
