"""What runs without the interpreter says what it said with it."""

import logging
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from asr_server.asr.loader import precision
from asr_server.asr.loader import quantise as quantization
from asr_server.asr.run.backend import PyTorchBackend, PyTorchOptions
from asr_server.asr.run.tracing import interpreted, recorded
from asr_server.asr.run.vad_state import VadState
from asr_server.asr.types import DecodeWork, Kind, Step, StepResult
from asr_server.audio.endpointer import WINDOW
from tests.support.chunks import speechlike


def loaded(model_dir: Path, dtype: str = "float32") -> PyTorchBackend:
    return PyTorchBackend.load(model_dir, PyTorchOptions("cpu", dtype, slots=8), None)


def chunk(backend: PyTorchBackend, stream: int, kind: Kind, first: bool) -> DecodeWork:
    length = backend.geometry.stride + (0 if first else backend.geometry.context)
    return DecodeWork(stream, kind, first, speechlike(2.0, 7 * stream)[:length])


def conversation(backend: PyTorchBackend) -> list[StepResult]:
    """Steps of one row and of several, of which all, some or none advance their stream."""
    everybody = range(1, 6)
    steps = [Step(opened=tuple(everybody))]
    for number, kinds in enumerate(
        ([Kind.COMMIT], [Kind.PREVIEW], [Kind.COMMIT, Kind.PREVIEW], [Kind.COMMIT], [Kind.FLUSH])
    ):
        works = [
            chunk(backend, stream, kinds[stream % len(kinds)], number == 0) for stream in everybody
        ]
        steps += [Step(chunks=tuple(works[:1])), Step(chunks=tuple(works[1:]))]
    steps.append(Step(closed=tuple(everybody)))
    return [backend.step(step) for step in steps]


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_recorded_layers_say_the_same_to_the_bit(model_dir, monkeypatch, dtype, packed):
    if not packed:  # as on every processor but x86, and on those without VNNI
        for module in (precision, quantization):
            monkeypatch.setattr(module, "packs", lambda *_: False)
    backend = loaded(model_dir, dtype)
    before = conversation(backend)
    backend.warm_up()
    network = backend._paraformer
    assert isinstance(network.encoder._run, partial)  # of a recording and the weights
    assert isinstance(network.decoder._run, partial)
    assert conversation(backend) == before
    assert sum(len(heard.tokens) for result in before for heard in result.heard) > 10


def test_where_pytorch_records_no_more_the_layers_run_as_they_are(model_dir, monkeypatch, caplog):
    def removed(*_: object, **__: object) -> None:
        raise RuntimeError("torch.jit is gone")

    backend = loaded(model_dir)
    before = conversation(backend)
    monkeypatch.setattr(torch.jit, "trace", removed)
    monkeypatch.setattr(torch.jit, "script", removed)
    with caplog.at_level(logging.WARNING):
        backend.warm_up()
    assert "PyTorch cannot record them (RuntimeError)" in caplog.text
    assert conversation(backend) == before


def judged(vad: VadState) -> list[list[float]]:
    """Streams together and alone, of one window and of many."""
    audio = speechlike(3.0, 1)
    told = []
    for begin, lengths in ((0, [4]), (4, [1, 7]), (11, [19, 3]), (30, [2, 2])):
        pieces = [audio[begin * WINDOW : (begin + length) * WINDOW] for length in lengths]
        told += [row.tolist() for row in vad.judge(range(1, 1 + len(pieces)), pieces)]
    return told


def test_the_vad_without_the_interpreter_judges_the_same_to_the_bit():
    plain, quick = VadState(4), VadState(4)
    with torch.inference_mode():
        quick.record()
        assert isinstance(quick._vad, torch.jit.ScriptModule)
        assert judged(quick) == judged(plain)


def counts_rows(
    layer: nn.Module, x: Tensor, own: list[Tensor], shared: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Reads a size that a recording takes for a constant."""
    return layer(x) + len(x.tolist()), [x]


def test_a_recording_that_would_say_something_else_is_not_used(caplog):
    layers = [nn.Linear(4, 4), nn.Linear(4, 4)]

    def example(rows: int) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        stacks, shared = [torch.zeros(rows, 2, 1)], [torch.ones(1)]
        return torch.ones(rows, 4), stacks, shared, [torch.zeros(rows, 2, 4)]

    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        run = recorded(counts_rows, layers, [example(2), example(3)])
        assert "not faithful" in caplog.text
        assert torch.equal(run(*example(5)), interpreted(counts_rows, layers)(*example(5)))
