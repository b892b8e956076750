"""Traced layers compute what eager ones compute, to the bit."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from asr_server.asr.loading import precision, quantise
from asr_server.asr.nn.layer_loop import run_layers
from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.run.tracing import Example, traced
from asr_server.asr.run.vad_runner import VadRunner
from asr_server.asr.types import DecodeResult, DecodeWork, Kind, VadWork
from asr_server.audio.endpointer import WINDOW
from tests.support.backends import load_backend
from tests.support.chunks import speechlike


def chunk(backend: PyTorchBackend, slot: int, kind: Kind, first: bool) -> DecodeWork:
    length = backend.geometry.stride + (0 if first else backend.geometry.context)
    return DecodeWork(slot, kind, first, speechlike(2.0, 7 * slot)[:length])


def batches(backend: PyTorchBackend) -> Iterator[list[DecodeWork]]:
    """Yield batches of one row and of several, of which all, some or none commit."""
    for number, kinds in enumerate(
        ([Kind.COMMIT], [Kind.PREVIEW], [Kind.COMMIT, Kind.PREVIEW], [Kind.COMMIT], [Kind.FLUSH])
    ):
        works = [
            chunk(backend, slot, kinds[slot % len(kinds)], number == 0) for slot in range(1, 6)
        ]
        yield works[:1]
        yield works[1:]


def decode(backend: PyTorchBackend) -> list[DecodeResult]:
    return [result for works in batches(backend) for result in backend.decode(works)]


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_traced_layers_give_the_results_of_eager_ones_to_the_bit(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, packed: bool
) -> None:
    if not packed:  # as on every processor but x86
        for module in (precision, quantise):
            monkeypatch.setattr(module, "can_pack", lambda *_: False)
    backend = load_backend(model_dir, dtype=dtype, max_tasks=8)
    before = decode(backend)
    backend.warm_up()
    for network in (backend.paraformer.encoder, backend.paraformer.decoder):
        assert isinstance(network.layer_loop, partial)
        assert network.layer_loop.func is not run_layers
    assert decode(backend) == before
    assert sum(len(result.tokens) for result in before) > 10


def test_where_pytorch_cannot_trace_the_layers_stay_eager(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def removed(*_: object, **__: object) -> None:
        raise RuntimeError("torch.jit is gone")

    backend = load_backend(model_dir, max_tasks=8)
    before = decode(backend)
    monkeypatch.setattr(torch.jit, "trace", removed)
    monkeypatch.setattr(torch.jit, "script", removed)
    with caplog.at_level(logging.WARNING):
        backend.warm_up()
    assert "PyTorch cannot trace them (RuntimeError)" in caplog.text
    assert decode(backend) == before


def detect(vad: VadRunner) -> list[list[float]]:
    """Return probabilities of streams together and alone, of one window and of many."""
    audio = speechlike(3.0, 1)
    probabilities = []
    for begin, lengths in ((0, [4]), (4, [1, 7]), (11, [19, 3]), (30, [2, 2])):
        pieces = [audio[begin * WINDOW : (begin + length) * WINDOW] for length in lengths]
        works = [VadWork(slot, begin == 0, pcm) for slot, pcm in enumerate(pieces, start=1)]
        probabilities += [row.tolist() for row in vad.detect(works)]
    return probabilities


def test_the_compiled_vad_gives_the_probabilities_of_the_eager_one_to_the_bit() -> None:
    eager, compiled = VadRunner(4), VadRunner(4)
    with torch.inference_mode():
        compiled.compile()
        assert isinstance(compiled.vad, torch.jit.ScriptModule)
        assert detect(compiled) == detect(eager)


class DependsOnSize(nn.Linear):
    """Reads a size that a trace takes for a constant."""

    def forward(self, x: Tensor, cache: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x) + len(x.tolist()), x


def test_traced_layers_that_differ_from_the_eager_ones_are_not_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layers = [DependsOnSize(4, 4), DependsOnSize(4, 4)]

    def example(rows: int) -> Example:
        caches, shared = [torch.zeros(rows, 2, 1)], [torch.ones(1)]
        return torch.ones(rows, 4), caches, shared, [torch.zeros(rows, 2, 4)]

    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        loop = traced(layers, [example(2), example(3)])
        assert "differ from the eager ones" in caplog.text
        assert torch.equal(loop(*example(5)), run_layers(layers, *example(5)))
