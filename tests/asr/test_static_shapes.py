"""A step as a GPU runs it: no shape depends on what is computed, and nothing asks the device.

Without a GPU the same code runs on the CPU, against the shapes of the CPU, and on PyTorch's "meta"
device, which knows shapes but no values: what would wait for values fails there.
"""

import copy
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asr_server.asr.loading.config import ParaformerConfig
from asr_server.asr.loading.model_dir import ModelDir, load_weights
from asr_server.asr.loading.precision import set_precision
from asr_server.asr.nn.frontend import Frontend
from asr_server.asr.nn.paraformer import Paraformer
from asr_server.asr.run.backend import PyTorchBackend, PyTorchOptions
from asr_server.asr.run.cuda_graphs import sizes
from asr_server.asr.run.decode_step import HEAD, Hearing, Row, pack
from asr_server.asr.run.slots import SPARE
from asr_server.asr.run.state import ParaformerState
from asr_server.asr.types import ChunkGeometry, DecodeWork, Kind
from tests.support.chunks import chunks_of, speechlike, transcribe_together

SLOTS = 9
GEOMETRY = ChunkGeometry(stride=9_600, context=480)


class Geometry:
    """What `chunks_of` asks of a backend."""

    geometry = GEOMETRY


def load(model_dir: Path) -> Paraformer:
    model = ModelDir.open(model_dir)
    config = ParaformerConfig.from_funasr(model.config, len(model.tokens), (0, 10, 5))
    paraformer = Paraformer(config)
    load_weights(paraformer, model.weights(), str(model_dir))
    set_precision(paraformer.eval().requires_grad_(False), "float32")
    return paraformer


@pytest.fixture(scope="module")
def paraformer(model_dir: Path) -> Paraformer:
    return load(model_dir)


@pytest.fixture(scope="module")
def frontend(model_dir: Path) -> Frontend:
    return Frontend.from_file(model_dir / "am.mvn")


def state_of(paraformer: Paraformer, device: str, static: bool) -> ParaformerState:
    dtype = paraformer.encoder.after_norm.weight.dtype
    return ParaformerState(paraformer.config, SLOTS, dtype, torch.device(device), static=static)


def conversation(seed: int) -> list[list[DecodeWork]]:
    """Steps of random company, with chunks of every kind, two sentences in each slot."""
    order = random.Random(seed)
    waiting: dict[int, list[DecodeWork]] = {}
    for slot in range(1, SLOTS):
        works: list[DecodeWork] = []
        for sentence in range(2):
            sound = speechlike(order.uniform(0.1, 4.0), 100 * seed + 10 * slot + sentence)
            for work in chunks_of(Geometry(), slot, sound):  # type: ignore[arg-type]
                part = DecodeWork(slot, Kind.PREVIEW, work.first, work.pcm[: len(work.pcm) // 2])
                works += [part, work] if order.random() < 0.5 else [work]
        waiting[slot] = works
    steps = []
    while any(waiting.values()):
        riders = [slot for slot, works in waiting.items() if works and order.random() < 0.6]
        steps.append([waiting[slot].pop(0) for slot in riders])
    return [works for works in steps if works]


def hear(
    hearing: Hearing, state: ParaformerState, steps: Sequence[Sequence[DecodeWork]], padding: int
) -> list[list[Row]]:
    heard = []
    for works in steps:
        slots = [work.stream for work in works]
        batch = pack(works, slots, len(works) + padding, hearing.longest)
        answer = hearing(batch)
        rows = answer.rows()
        for row, scores in zip(rows, answer.scores_by_row(rows), strict=True):
            assert scores.argmax(dim=1).tolist() == row.tokens
        heard.append(rows[: len(works)])
        state.advance(answer.progress)
    return heard


def contents(state: ParaformerState) -> dict[str, Tensor]:
    """What is in the slots that are somebody's."""
    tensors = {name: value for name, value in vars(state).items() if isinstance(value, Tensor)}
    assert len(tensors) == 8
    return {name: value[SPARE + 1 :] for name, value in tensors.items()}


@pytest.mark.parametrize("loud", [False, True], ids=["usual", "every frame fires"])
def test_static_shapes_say_and_remember_the_same(
    model_dir: Path, frontend: Frontend, loud: bool
) -> None:
    paraformer = load(model_dir)
    if loud:
        paraformer.predictor.cif_output.bias += 30.0
    steps = conversation(seed=3)
    ragged, static = (state_of(paraformer, "cpu", static) for static in (False, True))
    expected = hear(Hearing(frontend, paraformer, ragged), ragged, steps, padding=0)
    heard = hear(Hearing(frontend, paraformer, static), static, steps, padding=3)
    assert sum(len(row.tokens) for rows in expected for row in rows) > 100
    for rows, as_expected in zip(heard, expected, strict=True):
        for row, other in zip(rows, as_expected, strict=True):
            assert row.tokens == other.tokens
            assert row.confidences == pytest.approx(other.confidences, abs=1e-3)
            assert row.fired_at == pytest.approx(other.fired_at, abs=16)
    for name, tensor in contents(static).items():
        torch.testing.assert_close(
            tensor, contents(ragged)[name], atol=1e-3, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_rows_that_fill_up_a_batch_say_nothing(model_dir: Path, frontend: Frontend) -> None:
    paraformer = load(model_dir)
    paraformer.predictor.cif_output.bias += 30.0  # every frame fires
    hearing = Hearing(frontend, paraformer, state_of(paraformer, "cpu", static=False))
    work = DecodeWork(1, Kind.COMMIT, True, speechlike(1.0, 1)[: GEOMETRY.stride])
    said, *others = hearing(pack([work], [1], 4, hearing.longest)).rows()
    assert len(said.tokens) > 5
    assert others == [Row([], [], [])] * 3


class OnlyMeta(TorchDispatchMode):
    """Fails where anything but a lone number is not on the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, Tensor):
                assert tensor.device.type == "meta", f"{func} on {tensor.device}"
        return out


def on_meta(paraformer: Paraformer, frontend: Frontend, dtype: str) -> tuple[Any, Any]:
    with torch.device("meta"):
        network = Paraformer(paraformer.config)
    set_precision(network.eval().requires_grad_(False), dtype)
    return network, copy.deepcopy(frontend).to("meta")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_step_asks_nothing_of_the_device_and_brings_nothing_along(
    paraformer: Paraformer, frontend: Frontend, dtype: str
) -> None:
    network, features = on_meta(paraformer, frontend, dtype)
    state = state_of(network, "meta", static=True)
    hearing = Hearing(features, network, state)
    batch = torch.empty(4, HEAD + hearing.longest, device="meta")
    with torch.inference_mode(), OnlyMeta():
        answer = hearing(batch)
        state.advance(answer.progress)
    assert answer.said.shape == (4, 1 + 3 * paraformer.config.most_tokens)


def test_shapes_that_depend_on_values_would_be_noticed(
    paraformer: Paraformer, frontend: Frontend
) -> None:
    network, features = on_meta(paraformer, frontend, "float32")
    hearing = Hearing(features, network, state_of(network, "meta", static=False))
    with pytest.raises(NotImplementedError), OnlyMeta():
        hearing(torch.empty(4, HEAD + hearing.longest, device="meta"))


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [1]), (2, [1, 2]), (48, [1, 2, 4, 8, 16, 32, 48]), (64, None)]
)
def test_captured_sizes_end_with_the_largest_batch(most: int, expected: list[int] | None) -> None:
    assert sizes(most) == (expected or [1, 2, 4, 8, 16, 32, 64])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_captured_steps_say_what_launched_ones_say(model_dir: Path, dtype: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    recordings = [speechlike(1.0 + 0.3 * n, n) for n in range(11)]
    options = PyTorchOptions(device="cuda", dtype=dtype, slots=16, max_batch=8)
    backend = PyTorchBackend.load(model_dir, options, None)
    launched = transcribe_together(backend, recordings[:8])
    backend.warm_up()
    assert transcribe_together(backend, recordings[:8]) == launched
    assert sum(map(len, launched)) > 20
    # More than any captured size.
    assert transcribe_together(backend, recordings)[:8] == launched
