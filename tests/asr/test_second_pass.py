"""The offline model against FunASR's own classes, and alone against in a batch."""

import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_server.asr.hotword_compiler import compile_hotwords
from asr_server.asr.hotwords import HotwordSet
from asr_server.asr.loading.verify import damage, verify
from asr_server.asr.nn.layer_loop import run_layers
from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.run.second_pass import MAX_FRAMES, batches, frame_bucket
from asr_server.asr.types import LoadError, SecondPassToken, SecondPassWork
from asr_server.audio.units import Pcm
from tests.support.backends import load_backend
from tests.support.chunks import speechlike
from tests.support.funasr_model import CHARACTERS, small_vocabulary
from tests.support.funasr_offline import (
    FunAsrOffline,
    OfflineTokens,
    build_offline,
    random_offline_config,
    write_offline_dir,
)

pytest.importorskip("funasr")

TOKENS = small_vocabulary()
CONFIG = random_offline_config(len(TOKENS))
SEED = 1
AUDIO = speechlike(12.0)
WORDS = (("中国", 4), ("时来用", 4), ("hello", 4))
ROUNDED = 320 + 16
"""Samples: 20 ms, for a weight that crosses at the edge of a frame, and 1 ms, which FunASR cuts."""
Tokens = tuple[SecondPassToken, ...]


def pairs(count: int) -> tuple[tuple[str, int], ...]:
    """A list of so many words of two characters."""
    size = len(CHARACTERS)
    return tuple(
        (CHARACTERS[n % size] + CHARACTERS[(7 * n + 3) % (size - 1)], 4) for n in range(count)
    )


def hotwords(words: tuple[tuple[str, int], ...]) -> HotwordSet:
    compiled = compile_hotwords(words, tuple(TOKENS))
    assert compiled is not None
    return compiled


LISTS = (None, hotwords(WORDS), hotwords(pairs(49)), hotwords(pairs(50)), hotwords(pairs(120)))
"""No list, a short one, and some at whose size FunASR begins to choose among the words."""


@pytest.fixture(scope="module")
def offline_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_offline_dir(tmp_path_factory.mktemp("offline"), CONFIG, TOKENS, SEED)


@pytest.fixture(scope="module")
def offline(model_dir: Path, offline_dir: Path, device: str) -> PyTorchBackend:
    return load_backend(model_dir, second_pass=offline_dir, warm=True, device=device)


@pytest.fixture(scope="module")
def reference(offline_dir: Path) -> FunAsrOffline:
    model = build_offline(CONFIG, TOKENS, SEED)
    return FunAsrOffline(model, CONFIG, TOKENS, offline_dir / "am.mvn")


def correct(backend: PyTorchBackend, *sentences: tuple[Pcm, HotwordSet | None]) -> list[Tokens]:
    works = [SecondPassWork(pcm, hotwords=words) for pcm, words in sentences]
    return [result.tokens for result in backend.correct(works)]


def assert_as_funasr(ours: Tokens, theirs: OfflineTokens, samples: int) -> None:
    assert [token.piece for token in ours] == theirs.pieces
    if len(theirs.times) == len(theirs.pieces):
        expected = np.array(theirs.times).reshape(-1, 2).clip(0, samples)
        found = np.array([(token.begin, token.end) for token in ours]).reshape(-1, 2)
        assert np.abs(found - expected).max(initial=0) <= ROUNDED


def assert_same(together: Tokens, alone: Tokens) -> None:
    assert [token.piece for token in together] == [token.piece for token in alone]
    for one, other in zip(together, alone, strict=True):
        assert (one.begin, one.end) == (other.begin, other.end)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


@settings(max_examples=12)
@given(
    begin=st.integers(0, 16_000),
    length=st.integers(600, 160_000),
    words=st.sampled_from(LISTS),
)
def test_any_sentence_gives_the_tokens_and_times_that_funasr_gives(
    offline: PyTorchBackend,
    reference: FunAsrOffline,
    begin: int,
    length: int,
    words: HotwordSet | None,
) -> None:
    samples = AUDIO[begin : begin + length]
    [ours] = correct(offline, (samples, words))
    spelled = [tokens for tokens, _ in words.spelled] if words else []
    assert_as_funasr(ours, reference.recognise(samples, spelled), len(samples))


def test_the_comparison_is_about_many_tokens_and_about_hotwords(offline: PyTorchBackend) -> None:
    plain, *biased = correct(offline, *((AUDIO, words) for words in LISTS))
    assert len(plain) > 20
    assert len({token.piece for token in plain}) >= 5
    for tokens in biased:
        changed = [a.piece != b.piece for a, b in zip(plain, tokens, strict=True)]
        assert any(changed)
        assert not all(changed)


@settings(max_examples=8)
@given(lengths=st.lists(st.integers(0, 90_000), min_size=2, max_size=10), seed=st.integers(0, 999))
def test_sentences_together_get_the_tokens_they_get_alone(
    offline: PyTorchBackend, lengths: list[int], seed: int
) -> None:
    choose = random.Random(seed)
    sentences = [
        (speechlike(max(length, 1) / 16_000, seed + n)[:length], choose.choice(LISTS))
        for n, length in enumerate(lengths)
    ]
    for together, sentence in zip(correct(offline, *sentences), sentences, strict=True):
        assert_same(together, *correct(offline, sentence))


def test_a_batch_has_the_tokens_and_times_that_funasr_gives_its_sentences_one_by_one(
    offline: PyTorchBackend, reference: FunAsrOffline
) -> None:
    sentences = [
        (speechlike(4.0 + n / 7, n), words) for n, words in enumerate((*LISTS, *LISTS[1:]))
    ]
    for (pcm, words), ours in zip(sentences, correct(offline, *sentences), strict=True):
        spelled = [tokens for tokens, _ in words.spelled] if words else []
        assert_as_funasr(ours, reference.recognise(pcm, spelled), len(pcm))


def test_what_is_too_short_or_silent_has_no_tokens(offline: PyTorchBackend) -> None:
    short = [(np.zeros(n, dtype=np.float32), LISTS[1]) for n in (0, 1, 399)]
    assert correct(offline, *short) == [(), (), ()]
    [tokens] = correct(offline, (np.zeros(16_000, dtype=np.float32), LISTS[1]))
    assert all(0 <= token.begin <= token.end <= 16_000 for token in tokens)


def test_a_lighter_hotword_counts_less(offline: PyTorchBackend) -> None:
    words = pairs(49)

    def changed(weight: int) -> int:
        lighter = hotwords(tuple((word, weight) for word, _ in words))
        plain, biased = correct(offline, (AUDIO, None), (AUDIO, lighter))
        return sum(a.piece != b.piece for a, b in zip(plain, biased, strict=True))

    assert changed(1) < changed(4) == changed(5) == changed(50)


@given(st.lists(st.integers(0, 1_100), max_size=40))
def test_batches_hold_similar_sentences_within_the_bound_on_memory(frames: list[int]) -> None:
    found = list(batches(frames))
    assert sorted(sum(found, [])) == [number for number, count in enumerate(frames) if count]
    for batch in found:
        longest = max(frames[number] for number in batch)
        assert len(batch) in {1, 2, 4, 8, 16, 32, 64}
        assert len(batch) == 1 or len(batch) * frame_bucket(longest) <= MAX_FRAMES
        assert min(frames[number] for number in batch) >= 0.75 * longest


def test_a_sentence_of_a_minute_is_recognised(offline: PyTorchBackend) -> None:
    [tokens] = correct(offline, (speechlike(61.5, 3), LISTS[4]))
    assert len(tokens) > 60
    begins = [token.begin for token in tokens]
    assert begins == sorted(begins)


def damaged(offline_dir: Path, path: Path, name: str, change: Any) -> Path:
    shutil.copytree(offline_dir, path / "model")
    file = path / "model" / name
    file.write_text(change(file.read_text("utf-8")), "utf-8")
    return path / "model"


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("config.yaml", lambda text: text.replace("SeacoParaformer", "SenseVoice"), "SenseVoice"),
        ("config.yaml", lambda text: text.replace("seaco_decoder_conf", "x"), "seaco_decoder_conf"),
        ("config.yaml", lambda text: text.replace("cnn_blstm", "cnn"), "no BLSTM"),
        ("config.yaml", lambda text: text.replace("NO_BIAS: ", "NO_BIAS: 83"), "NO_BIAS is 83"),
        ("tokens.json", lambda text: text.replace("的", "地"), "are not those of the streaming"),
        ("model.pt", lambda text: text, "cannot be read"),
    ],
)
def test_a_directory_that_cannot_be_used_is_refused_with_the_reason(
    model_dir: Path, offline_dir: Path, tmp_path: Path, name: str, change: Any, why: str
) -> None:
    if name == "model.pt":
        path = Path(shutil.copytree(offline_dir, tmp_path / "model"))
        (path / name).write_bytes(b"not a checkpoint")
    else:
        path = damaged(offline_dir, tmp_path, name, change)
    with pytest.raises(LoadError, match=why) as refusal:
        load_backend(model_dir, second_pass=path)
    assert "second pass" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_without_a_directory_there_is_no_second_pass(model_dir: Path) -> None:
    assert not load_backend(model_dir).second_pass


def test_verification_knows_the_offline_model_and_its_hotword_part(
    offline_dir: Path, tmp_path: Path
) -> None:
    assert [check for check in verify(offline_dir) if check.problem] == []
    path = Path(shutil.copytree(offline_dir, tmp_path / "model"))
    weights = torch.load(path / "model.pt")
    del weights["hotword_output_layer.weight"]
    torch.save(weights, path / "model.pt")
    assert "hotword_output_layer.weight is missing" in str(damage(path))


def test_the_layers_of_a_warm_model_are_traced(offline: PyTorchBackend) -> None:
    if offline.device == "cpu":
        assert offline.offline is not None
        network = offline.offline.network
        for part in (network.encoder, network.decoder):
            assert isinstance(part.layer_loop, partial)
            assert part.layer_loop.func is not run_layers


def test_both_ways_of_the_recurrent_layer_end_each_row_at_its_end(offline: PyTorchBackend) -> None:
    assert offline.offline is not None
    predictor = offline.offline.network.predictor
    ends = torch.tensor([9, 1, 5], device=offline.device)
    x = torch.randn(3, 9, predictor.blstm.input_size, device=offline.device)
    with torch.inference_mode():
        packed, masked = predictor.recur_packed(x, ends), predictor.recur(x, ends)
    for row, end in enumerate(ends.tolist()):
        torch.testing.assert_close(packed[row, :end], masked[row, :end])


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_every_precision_gives_tokens(model_dir: Path, offline_dir: Path, dtype: str) -> None:
    backend = load_backend(model_dir, second_pass=offline_dir, dtype=dtype)
    plain, biased = correct(backend, (AUDIO, None), (AUDIO, LISTS[4]))
    assert len(plain) > 20
    assert len(plain) == len(biased)
