"""Silero's network, batched, against the package's own."""

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from asr_server.asr.run.backend import PyTorchBackend, PyTorchOptions
from asr_server.asr.run.vad_state import VadState
from asr_server.asr.types import DecodeWork, Kind, Step, VadWork
from asr_server.audio.endpointer import WINDOW
from tests.support.chunks import speechlike


@pytest.fixture(scope="module")
def silero() -> torch.nn.Module:
    from silero_vad import load_silero_vad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; the package still ships it
        model: torch.nn.Module = load_silero_vad()
    return model


def windows(count: int, seed: int) -> np.ndarray:
    return speechlike(count * WINDOW / 16_000 + 0.1, seed)[: count * WINDOW]


def test_probabilities_are_those_of_the_package(silero: torch.nn.Module) -> None:
    audio = windows(40, 1)
    silero.reset_states()
    with torch.inference_mode():
        expected = [
            float(silero(torch.from_numpy(audio[n * WINDOW : (n + 1) * WINDOW]), 16_000))
            for n in range(40)
        ]
    vad = VadState(4)
    judged = np.concatenate(
        [
            vad.judge([2], [audio[a * WINDOW : b * WINDOW]])[0]
            for a, b in [(0, 3), (3, 20), (20, 40)]
        ]
    )
    assert judged.tolist() == pytest.approx(expected, abs=1e-4)


def test_judging_takes_no_room_among_the_compiled_products_of_the_steps() -> None:
    called = set()

    class Look(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.add(func.overloadpacket._qualified_op_name)
            return func(*args, **(kwargs or {}))

    with Look():
        VadState(4).judge([0, 1], [windows(3, 1), windows(2, 2)])
    assert called & {"aten::addmm", "aten::mm"}
    assert not [name for name in called if "conv" in name or "mkldnn" in name]


def test_loading_it_leaves_torch_its_threads() -> None:
    load = (
        "import torch; torch.set_num_threads(2)\n"
        "from asr_server.asr.nn.vad import SileroVad; SileroVad.load()\n"
        "print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True)
    assert done.stdout.strip() == "2", done.stderr


def test_streams_judged_together_are_judged_as_alone() -> None:
    audio = {slot: windows(12, slot) for slot in range(4)}
    together = VadState(4)
    first = together.judge([0, 1, 2, 3], [audio[slot][: (slot + 1) * WINDOW] for slot in range(4)])
    second = together.judge([3, 0], [audio[3][4 * WINDOW :], audio[0][WINDOW : 3 * WINDOW]])
    alone = VadState(4)
    for slot in range(4):
        expected = alone.judge([slot], [audio[slot]])[0]
        np.testing.assert_allclose(first[slot], expected[: slot + 1], atol=1e-5)
    np.testing.assert_allclose(second[0], VadState(4).judge([3], [audio[3]])[0][4:], atol=1e-5)
    np.testing.assert_allclose(second[1], VadState(4).judge([0], [audio[0]])[0][1:3], atol=1e-5)


def test_a_reset_slot_starts_anew() -> None:
    vad = VadState(1)
    fresh = vad.judge([0], [windows(5, 1)])[0].copy()
    vad.reset(0)
    np.testing.assert_allclose(vad.judge([0], [windows(5, 1)])[0], fresh, atol=1e-6)


def test_it_computes_on_one_core_whatever_the_lanes_take(model_dir: Path) -> None:
    options = PyTorchOptions(device="cpu", dtype="float32", threads=4, slots=2)
    backend = PyTorchBackend.load(model_dir, options, None)
    chunk = np.zeros(backend.geometry.stride, dtype=np.float32)
    judge = Step(opened=(1,), judge=(VadWork(1, chunk[:WINDOW]),))
    hear = Step(chunks=(DecodeWork(1, Kind.COMMIT, True, chunk),))

    def threads_after(step: Step) -> int:
        backend.step(step)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as vad, ThreadPoolExecutor(1) as lane:
        assert vad.submit(threads_after, judge).result() == 1
        assert lane.submit(threads_after, hear).result() == 3  # of four, one is left to the VAD
        assert vad.submit(torch.get_num_threads).result() == 1
