"""The embedded offline model, on recordings that show what it is for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_server.asr.hotword_compiler import compile_hotwords
from asr_server.asr.loading.model_dir import ModelDir, read_weights
from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.types import SecondPassResult, SecondPassWork
from asr_server.audio.units import Pcm, from_ms
from asr_server.models.registry import EMBEDDED
from tests.support.backends import load_backend
from tests.support.chunks import transcribe
from tests.support.decoding import decode_wave

DATA = Path(__file__).parents[1] / "data"
MANIFEST = DATA / "second_pass/manifest.json"
SHOWN = json.loads(MANIFEST.read_text("utf-8")) if MANIFEST.exists() else []
CORRECTED = [one for one in SHOWN if not one["hotwords"]]
SPELLED = [one for one in SHOWN if one["hotwords"]]
DTYPES = ["float32", "int8"]
RECORDINGS = json.loads((DATA / "manifest.json").read_text("utf-8"))


@pytest.fixture(scope="module", params=DTYPES)
def backend(request: pytest.FixtureRequest) -> PyTorchBackend:
    if not SHOWN:
        pytest.skip("the model is not here")
    return load_backend(
        EMBEDDED / "asr", second_pass=EMBEDDED / "second_pass", dtype=request.param, max_tasks=1
    )


def pcm(file: str) -> Pcm:
    return decode_wave((DATA / file).read_bytes())


def streamed(backend: PyTorchBackend, samples: Pcm) -> str:
    return "".join(token.piece for chunk in transcribe(backend, samples) for token in chunk)


def corrected(backend: PyTorchBackend, work: SecondPassWork) -> str:
    (result,) = backend.correct([work])
    return "".join(token.piece for token in result.tokens)


@pytest.mark.parametrize("shown", CORRECTED, ids=lambda one: one["file"])
def test_the_second_pass_corrects_what_streaming_got_wrong(
    backend: PyTorchBackend, shown: dict[str, Any]
) -> None:
    samples = pcm(f"second_pass/{shown['file']}")
    assert streamed(backend, samples) != shown["text"]
    assert corrected(backend, SecondPassWork(samples)) == shown["text"]


@pytest.mark.parametrize("shown", SPELLED, ids=lambda one: one["file"])
def test_a_name_absent_from_training_is_spelled_right_only_with_a_list(
    backend: PyTorchBackend, shown: dict[str, Any]
) -> None:
    samples = pcm(f"second_pass/{shown['file']}")
    words = compile_hotwords(tuple((word, 4) for word in shown["hotwords"]), backend.vocabulary)
    assert corrected(backend, SecondPassWork(samples)) != shown["text"]
    assert corrected(backend, SecondPassWork(samples, hotwords=words)) == shown["text"]


@pytest.fixture(scope="module")
def without_list(backend: PyTorchBackend) -> list[SecondPassResult]:
    """Return the results of all recordings."""
    return [backend.correct([SecondPassWork(pcm(one["file"]))])[0] for one in RECORDINGS]


def test_a_list_of_words_that_nobody_says_changes_nothing(
    backend: PyTorchBackend, without_list: list[SecondPassResult]
) -> None:
    words = tuple((word, 4) for shown in SPELLED for word in shown["hotwords"])
    assert words
    hotwords = compile_hotwords(words, backend.vocabulary)
    for recording, result in zip(RECORDINGS, without_list, strict=True):
        work = SecondPassWork(pcm(recording["file"]), hotwords=hotwords)
        assert corrected(backend, work) == "".join(token.piece for token in result.tokens)


def test_characters_begin_when_they_are_spoken(without_list: list[SecondPassResult]) -> None:
    errors = []
    for recording, result in zip(RECORDINGS, without_list, strict=True):
        if len(result.tokens) == len(recording["characters"]):
            begins = [from_ms(one["begin_ms"]) for one in recording["characters"]]
            errors += [token.begin - due for token, due in zip(result.tokens, begins, strict=True)]
    assert len(errors) > 50
    assert np.median(np.abs(errors)) < from_ms(40)


@pytest.mark.skipif(not SHOWN, reason="the model is not here")
def test_the_vocabulary_is_that_of_the_streaming_model() -> None:
    assert ModelDir.open(EMBEDDED / "second_pass").tokens == ModelDir.open(EMBEDDED / "asr").tokens


def test_a_matrix_of_integers_is_read_with_the_scales_of_its_rows(tmp_path: Path) -> None:
    integers = torch.tensor([[1, -127], [64, 0]], dtype=torch.int8)
    stored = {"a": integers, "a.scale": torch.tensor([0.5, 2.0]).half(), "b": torch.ones(2)}
    torch.save(stored, tmp_path / "model.pt")
    read = read_weights(tmp_path / "model.pt")
    assert read["a"].tolist() == [[0.5, -63.5], [128.0, 0.0]]
    assert sorted(read) == ["a", "b"]


def test_scales_that_do_not_fit_are_named(tmp_path: Path) -> None:
    stored = {"a": torch.ones(2, 2, dtype=torch.int8), "a.scale": torch.ones(3)}
    torch.save(stored, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="is damaged: a has 2 rows, 3 scales"):
        read_weights(tmp_path / "model.pt")
