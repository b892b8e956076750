"""The decode step against FunASR's own streaming code: same weights, same audio, same tokens."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_server.asr.run.backend import PyTorchBackend
from tests.support.chunks import speechlike, transcribe
from tests.support.funasr_model import FunAsrStream, build_funasr, small_vocabulary

pytest.importorskip("funasr")

AUDIO = speechlike(8.0)
WHOLE_CHUNKS = 4 * 9_600

Reference = Any


@pytest.fixture(scope="module")
def reference(
    model_dir: Path, model_config: dict[str, Any], chunk_size: tuple[int, int, int]
) -> Reference:
    tokens = small_vocabulary()
    model = build_funasr(model_config, tokens)

    def transcribe_by_funasr(samples: Any) -> list[list[str]]:
        stream = FunAsrStream(model, model_config, tokens, model_dir / "am.mvn", chunk_size)
        return stream.transcribe(samples)

    return transcribe_by_funasr


def pieces(backend: PyTorchBackend, samples: Any) -> list[list[str]]:
    return [[token.piece for token in chunk] for chunk in transcribe(backend, samples)]


@pytest.mark.parametrize("left_over", [0, 1, 159, 160, 479, 480, 959, 960, 961, 5_000, 9_599])
def test_the_rest_at_the_end_of_audio_gives_the_tokens_that_funasr_gives(
    backend: PyTorchBackend, reference: Reference, left_over: int
) -> None:
    samples = AUDIO[: WHOLE_CHUNKS + left_over]
    assert pieces(backend, samples) == reference(samples)


@settings(max_examples=15)
@given(begin=st.integers(0, 16_000), length=st.integers(500, 100_000))
def test_any_piece_of_audio_gives_the_tokens_that_funasr_gives(
    backend: PyTorchBackend, reference: Reference, begin: int, length: int
) -> None:
    samples = AUDIO[begin : begin + length]
    assert pieces(backend, samples) == reference(samples)


def test_the_comparison_is_about_many_different_tokens(backend: PyTorchBackend) -> None:
    all_pieces = [piece for chunk in pieces(backend, AUDIO) for piece in chunk]
    assert len(all_pieces) > 20
    assert len(set(all_pieces)) >= 5


def test_an_hour_into_a_sentence_a_chunk_costs_and_holds_what_the_first_did(
    backend: PyTorchBackend,
) -> None:
    """Positions come from an offset: no table grows (FunASR's takes 134 MB after an hour)."""
    config, state = backend.paraformer.config, backend.state
    transcribe(backend, AUDIO)
    sizes = [tensor.shape for tensor in (state.overlap, *state.encoder_kv_cache)]
    state.chunks.fill_(6_000)
    late = transcribe(backend, AUDIO)  # opens a sentence: the position starts again
    assert [[t.piece for t in chunk] for chunk in late] == pieces(backend, AUDIO)
    assert [tensor.shape for tensor in (state.overlap, *state.encoder_kv_cache)] == sizes
    assert state.encoder_kv_cache[0].shape[3] == config.cache_frames
