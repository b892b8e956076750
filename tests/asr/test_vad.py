"""Silero's network, batched, against the package's own."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.run.vad_runner import VadRunner
from asr_server.asr.types import DecodeWork, Kind, VadWork
from asr_server.audio.endpointer import WINDOW
from tests.support.backends import load_backend
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
    vad = VadRunner(4)
    ours = [
        vad.detect([VadWork(2, a == 0, audio[a * WINDOW : b * WINDOW])])[0]
        for a, b in [(0, 3), (3, 20), (20, 40)]
    ]
    assert np.concatenate(ours).tolist() == pytest.approx(expected, abs=1e-4)


def test_the_vad_calls_no_operator_that_onednn_compiles() -> None:
    called = set()

    class Look(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.add(func.overloadpacket._qualified_op_name)
            return func(*args, **(kwargs or {}))

    with Look():
        VadRunner(4).detect([VadWork(0, True, windows(3, 1)), VadWork(1, True, windows(2, 2))])
    assert called & {"aten::addmm", "aten::mm"}
    assert not [name for name in called if "conv" in name or "mkldnn" in name]


def test_loading_the_vad_keeps_the_threads_of_torch() -> None:
    load = (
        "import torch; torch.set_num_threads(2)\n"
        "from asr_server.asr.loading.networks import load_vad; load_vad()\n"
        "print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True)
    assert done.stdout.strip() == "2", done.stderr


def detect(vad: VadRunner, slot: int, pcm: np.ndarray, first: bool = True) -> np.ndarray:
    return vad.detect([VadWork(slot, first, pcm)])[0]


def test_streams_in_one_batch_have_the_probabilities_they_have_alone() -> None:
    audio = {slot: windows(12, slot) for slot in range(4)}
    together = VadRunner(4)
    first = together.detect(
        [VadWork(slot, True, audio[slot][: (slot + 1) * WINDOW]) for slot in range(4)]
    )
    second = together.detect(
        [
            VadWork(3, False, audio[3][4 * WINDOW :]),
            VadWork(0, False, audio[0][WINDOW : 3 * WINDOW]),
        ]
    )
    expected = [detect(VadRunner(4), slot, audio[slot]) for slot in range(4)]
    for slot in range(4):
        np.testing.assert_allclose(first[slot], expected[slot][: slot + 1], atol=1e-5)
    np.testing.assert_allclose(second[0], expected[3][4:], atol=1e-5)
    np.testing.assert_allclose(second[1], expected[0][1:3], atol=1e-5)


def test_the_first_windows_of_a_stream_do_not_depend_on_the_slots_last_stream() -> None:
    vad = VadRunner(2)
    fresh = detect(vad, 1, windows(5, 1))
    np.testing.assert_allclose(detect(vad, 1, windows(5, 1)), fresh, atol=1e-6)
    assert not np.allclose(detect(vad, 1, windows(5, 1), first=False), fresh, atol=1e-6)


def test_detection_that_fails_changes_no_state(
    backend: PyTorchBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = windows(8, 3)
    expected = backend.detect([VadWork(1, True, audio)])[0]

    def fail(*inputs: object) -> None:
        network(*inputs)
        raise RuntimeError("device fault")

    backend.detect([VadWork(1, True, audio[: 4 * WINDOW])])
    with monkeypatch.context() as broken:
        network = backend.vad.vad
        broken.setattr(backend.vad, "vad", fail)
        with pytest.raises(RuntimeError, match="device fault"):
            backend.detect([VadWork(1, False, audio[: 4 * WINDOW])])
    second = backend.detect([VadWork(1, False, audio[4 * WINDOW :])])[0]
    np.testing.assert_allclose(second, expected[4:], atol=1e-5)


def test_the_vad_computes_on_one_core_however_many_a_worker_takes(model_dir: Path) -> None:
    backend = load_backend(model_dir, threads=4, max_tasks=2)
    chunk = np.zeros(backend.geometry.stride, dtype=np.float32)

    def threads_after(step: Callable[[Any], object], work: VadWork | DecodeWork) -> int:
        step([work])
        return torch.get_num_threads()

    detect = VadWork(1, True, chunk[:WINDOW])
    decode = DecodeWork(1, Kind.COMMIT, True, chunk)
    with ThreadPoolExecutor(1) as vad, ThreadPoolExecutor(1) as worker:
        assert vad.submit(threads_after, backend.detect, detect).result() == 1
        # Of four threads, one core stays free for the VAD.
        assert worker.submit(threads_after, backend.decode, decode).result() == 3
        assert vad.submit(torch.get_num_threads).result() == 1
