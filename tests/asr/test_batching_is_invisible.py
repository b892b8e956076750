"""A stream's output does not depend on the other streams of its batches."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.types import DecodedToken, DecodeWork, Kind
from tests.support.chunks import chunks_of, decode_one, speechlike, transcribe

ChunkTokens = list[tuple[DecodedToken, ...]]


def assert_same(together: ChunkTokens, alone: ChunkTokens) -> None:
    assert [[t.piece for t in chunk] for chunk in together] == [
        [t.piece for t in chunk] for chunk in alone
    ]
    for one, other in zip(sum(map(list, together), []), sum(map(list, alone), []), strict=True):
        assert one.fired_at == pytest.approx(other.fired_at, abs=16)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def run_together(
    backend: PyTorchBackend, sentences: Sequence[Sequence[DecodeWork]], seed: int
) -> list[ChunkTokens]:
    """Decode every stream's chunks in order, in random batches; streams join and leave."""
    order = random.Random(seed)
    waiting = {chunks[0].slot: list(chunks) for chunks in sentences}
    tokens: dict[int, ChunkTokens] = {slot: [] for slot in waiting}
    while waiting:
        batch = [slot for slot in waiting if order.random() < 0.6] or [min(waiting)]
        order.shuffle(batch)
        results = backend.decode([waiting[slot].pop(0) for slot in batch])
        for slot, result in zip(batch, results, strict=True):
            tokens[slot].append(result.tokens)
        waiting = {slot: chunks for slot, chunks in waiting.items() if chunks}
    return list(tokens.values())


@settings(max_examples=10)
@given(
    lengths=st.lists(st.integers(300, 60_000), min_size=2, max_size=12), seed=st.integers(0, 999)
)
def test_streams_in_random_batches_get_the_tokens_they_get_alone(
    backend: PyTorchBackend, lengths: list[int], seed: int
) -> None:
    audio = [speechlike(length / 16_000, seed + n) for n, length in enumerate(lengths)]
    alone = [transcribe(backend, samples) for samples in audio]
    chunks = [
        list(chunks_of(backend, slot, samples)) for slot, samples in enumerate(audio, start=1)
    ]
    for together, single in zip(run_together(backend, chunks, seed), alone, strict=True):
        assert_same(together, single)


def test_one_stream_among_sixty_gets_the_tokens_it_gets_alone(backend: PyTorchBackend) -> None:
    audio = [speechlike(1.0 + n * 0.05, n) for n in range(60)]
    chunks = [
        list(chunks_of(backend, slot, samples)) for slot, samples in enumerate(audio, start=1)
    ]
    together = run_together(backend, chunks, seed=1)
    for number in (0, 31, 59):
        assert_same(together[number], transcribe(backend, audio[number]))


def test_streams_in_steps_side_by_side_get_the_tokens_they_get_alone(
    backend: PyTorchBackend,
) -> None:
    audio = [speechlike(2.0 + n * 0.3, n) for n in range(12)]
    chunks = [
        list(chunks_of(backend, slot, samples)) for slot, samples in enumerate(audio, start=1)
    ]
    with ThreadPoolExecutor(2) as workers:
        halves = workers.map(
            lambda half: run_together(backend, half, seed=2), (chunks[::2], chunks[1::2])
        )
        even, odd = list(halves)
    for number, samples in enumerate(audio):
        together = (odd if number % 2 else even)[number // 2]
        assert_same(together, transcribe(backend, samples))


@pytest.mark.parametrize("kind", [Kind.PREVIEW, Kind.SPECULATE])
def test_a_chunk_that_does_not_commit_leaves_the_state_as_it_was(
    backend: PyTorchBackend, kind: Kind
) -> None:
    audio = speechlike(3.0, 5)
    tokens = []
    for work in chunks_of(backend, 1, audio):
        short = work.pcm[: len(work.pcm) * 2 // 3]
        backend.decode([DecodeWork(1, kind, work.first, short)])
        tokens.append(decode_one(backend, work))
    assert_same(tokens, transcribe(backend, audio, slot=2))


def test_a_sentence_does_not_depend_on_the_earlier_ones_in_its_slot(
    backend: PyTorchBackend,
) -> None:
    expected = transcribe(backend, speechlike(2.0, 8))
    transcribe(backend, speechlike(5.0, 9))
    for work in list(chunks_of(backend, 1, speechlike(4.0, 6)))[:-1]:  # left without its end
        backend.decode([work])
    assert_same(transcribe(backend, speechlike(2.0, 8)), expected)


@pytest.mark.parametrize("place", ["paraformer.decoder.forward", "state.apply"])
def test_a_step_that_fails_changes_nothing(
    backend: PyTorchBackend, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    audio = speechlike(3.0, 10)
    expected = transcribe(backend, audio)
    tokens = []
    for work in chunks_of(backend, 1, audio):
        with monkeypatch.context() as broken:
            owner, _, name = place.rpartition(".")
            broken.setattr(attrgetter(owner)(backend), name, _fail)
            with pytest.raises(RuntimeError, match="device fault"):
                backend.decode([work])
        tokens.append(decode_one(backend, work))
    assert_same(tokens, expected)


def _fail(*_: object) -> None:
    raise RuntimeError("device fault")
