"""Products of every size do not fill the memory with what oneDNN compiles for them."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from asr_server.asr.loading.packing import can_pack

IN_USE = """
import ctypes, sys
import torch
from asr_server.asr.loading.packing import PackedLinear, limit_product_cache

class Account(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd",
        "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    )]

account = ctypes.CDLL(None).mallinfo2
account.restype = Account

def in_use():
    now = account()
    return now.uordblks + now.hblkhd

limit_product_cache()
layer = PackedLinear(torch.nn.Linear(256, 768))
rows = torch.zeros(300, 256)
with torch.inference_mode():
    layer(rows)
    before = in_use()
    for count in range(1, len(rows)):
        layer(rows[:count])
print((in_use() - before) / 1e6)
"""
"""Prints the MB that products of 300 sizes leave behind in the C library's heaps."""


def left_mb(**capacities: str) -> float:
    clean = {key: value for key, value in os.environ.items() if key != "LRU_CACHE_CAPACITY"}
    done = subprocess.run(
        [sys.executable, "-c", IN_USE],
        env=clean | {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"} | capacities,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2") or not can_pack(torch.device("cpu"), torch.float32),
    reason="measures what glibc allocates for oneDNN",
)
def test_what_is_compiled_for_many_sizes_stays_bounded_unless_the_environment_says_otherwise():
    bounded = left_mb()
    assert bounded < 50
    assert left_mb(LRU_CACHE_CAPACITY="1024") > 2 * bounded
