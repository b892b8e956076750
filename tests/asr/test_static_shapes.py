"""A step as a GPU runs it: no shape depends on computed values, and nothing waits for the device.

Without a GPU the same code runs on the CPU, against the shapes of the CPU, and on PyTorch's "meta"
device, which has shapes but no values: waiting for a value fails there.
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

from asr_server.asr.loading.model_dir import ModelDir
from asr_server.asr.loading.networks import load_frontend, load_paraformer
from asr_server.asr.loading.precision import set_precision
from asr_server.asr.nn.frontend import Frontend
from asr_server.asr.nn.paraformer import Paraformer
from asr_server.asr.run.cuda_graphs import captured_sizes
from asr_server.asr.run.decode_step import HEADER, DecodeStep, RowTokens, pack
from asr_server.asr.run.state import ParaformerState
from asr_server.asr.types import DUMMY_SLOT, ChunkGeometry, DecodeWork, Kind
from tests.support.backends import load_backend
from tests.support.chunks import chunks_of, speechlike, transcribe_together

SLOTS = 9
GEOMETRY = ChunkGeometry(stride=9_600, context=480)


class Geometry:
    """Stands in for a backend in `chunks_of`."""

    geometry = GEOMETRY


def load(model_dir: Path) -> Paraformer:
    return load_paraformer(ModelDir.open(model_dir), (0, 10, 5), torch.device("cpu"), "float32")


@pytest.fixture(scope="module")
def paraformer(model_dir: Path) -> Paraformer:
    return load(model_dir)


@pytest.fixture(scope="module")
def frontend(model_dir: Path) -> Frontend:
    return load_frontend(ModelDir.open(model_dir))


def state_of(paraformer: Paraformer, device: str, static: bool) -> ParaformerState:
    config, dtype = paraformer.config, paraformer.dtype
    return ParaformerState(config, SLOTS, dtype, torch.device(device), static=static)


def random_batches(seed: int) -> list[list[DecodeWork]]:
    """Batches of random slots, with chunks of every kind, two sentences in each slot."""
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
    batches = []
    while any(waiting.values()):
        slots = [slot for slot, works in waiting.items() if works and order.random() < 0.6]
        batches.append([waiting[slot].pop(0) for slot in slots])
    return [works for works in batches if works]


def decode(
    step: DecodeStep, state: ParaformerState, batches: Sequence[Sequence[DecodeWork]], padding: int
) -> list[list[RowTokens]]:
    decoded = []
    for works in batches:
        outputs = step(pack(works, len(works) + padding, step.max_samples))
        rows = outputs.unpack()
        for row, scores in zip(rows, outputs.scores_by_row(rows), strict=True):
            assert scores.argmax(dim=1).tolist() == row.tokens
        decoded.append(rows[: len(works)])
        state.apply(outputs.update)
    return decoded


def contents(state: ParaformerState) -> dict[str, Tensor]:
    """Return the state of all slots but the dummy."""
    tensors = {name: value for name, value in vars(state).items() if isinstance(value, Tensor)}
    assert len(tensors) == 8
    return {name: value[DUMMY_SLOT + 1 :] for name, value in tensors.items()}


@pytest.mark.parametrize("loud", [False, True], ids=["usual", "every frame fires"])
def test_static_shapes_give_the_same_tokens_and_state(
    model_dir: Path, frontend: Frontend, loud: bool
) -> None:
    paraformer = load(model_dir)
    if loud:
        paraformer.predictor.cif_output.bias += 30.0
    batches = random_batches(seed=3)
    ragged, static = (state_of(paraformer, "cpu", static) for static in (False, True))
    expected = decode(DecodeStep(frontend, paraformer, ragged), ragged, batches, padding=0)
    decoded = decode(DecodeStep(frontend, paraformer, static), static, batches, padding=3)
    assert sum(len(row.tokens) for rows in expected for row in rows) > 100
    for rows, as_expected in zip(decoded, expected, strict=True):
        for row, other in zip(rows, as_expected, strict=True):
            assert row.tokens == other.tokens
            assert row.confidences == pytest.approx(other.confidences, abs=1e-3)
            assert row.fired_at == pytest.approx(other.fired_at, abs=16)
    for name, tensor in contents(static).items():
        torch.testing.assert_close(
            tensor, contents(ragged)[name], atol=1e-3, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_padding_of_a_batch_fires_no_tokens(model_dir: Path, frontend: Frontend) -> None:
    paraformer = load(model_dir)
    paraformer.predictor.cif_output.bias += 30.0  # every frame fires
    step = DecodeStep(frontend, paraformer, state_of(paraformer, "cpu", static=False))
    work = DecodeWork(1, Kind.COMMIT, True, speechlike(1.0, 1)[: GEOMETRY.stride])
    row, *padding = step(pack([work], 4, step.max_samples)).unpack()
    assert len(row.tokens) > 5
    assert padding == [RowTokens([], [], [])] * 3


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
def test_a_static_step_reads_no_value_and_copies_none_to_the_device(
    paraformer: Paraformer, frontend: Frontend, dtype: str
) -> None:
    network, features = on_meta(paraformer, frontend, dtype)
    state = state_of(network, "meta", static=True)
    step = DecodeStep(features, network, state)
    batch = torch.empty(4, HEADER + step.max_samples, device="meta")
    with torch.inference_mode(), OnlyMeta():
        outputs = step(batch)
        state.apply(outputs.update)
    assert outputs.packed.shape == (4, 1 + 3 * paraformer.config.max_tokens)


def test_shapes_that_depend_on_values_fail_on_the_meta_device(
    paraformer: Paraformer, frontend: Frontend
) -> None:
    network, features = on_meta(paraformer, frontend, "float32")
    step = DecodeStep(features, network, state_of(network, "meta", static=False))
    with pytest.raises(NotImplementedError), OnlyMeta():
        step(torch.empty(4, HEADER + step.max_samples, device="meta"))


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [1]), (2, [1, 2]), (48, [1, 2, 4, 8, 16, 32, 48]), (64, None)]
)
def test_captured_sizes_end_with_the_largest_batch(most: int, expected: list[int] | None) -> None:
    assert captured_sizes(most) == (expected or [1, 2, 4, 8, 16, 32, 64])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_captured_steps_give_the_tokens_of_launched_ones(model_dir: Path, dtype: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    recordings = [speechlike(1.0 + 0.3 * n, n) for n in range(11)]
    backend = load_backend(model_dir, device="cuda", dtype=dtype, max_tasks=16, max_batch=8)
    launched = transcribe_together(backend, recordings[:8])
    backend.warm_up()
    assert transcribe_together(backend, recordings[:8]) == launched
    assert sum(map(len, launched)) > 20
    # More than any captured size.
    assert transcribe_together(backend, recordings)[:8] == launched
