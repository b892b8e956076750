"""A stream's output does not depend on who shares its steps."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_server.asr.run.backend import PyTorchBackend
from asr_server.asr.types import DecodedToken, DecodeWork, Kind, Step, VadWork
from tests.support.chunks import chunks_of, speechlike, transcribe

DecodeResult = list[tuple[DecodedToken, ...]]


def assert_same(together: DecodeResult, alone: DecodeResult) -> None:
    assert [[t.piece for t in chunk] for chunk in together] == [
        [t.piece for t in chunk] for chunk in alone
    ]
    for one, other in zip(sum(map(list, together), []), sum(map(list, alone), []), strict=True):
        assert one.fired_at == pytest.approx(other.fired_at, abs=16)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def run_together(
    backend: PyTorchBackend, sentences: Sequence[Sequence[DecodeWork]], seed: int
) -> list[DecodeResult]:
    """Every stream's chunks in order, in steps of random company, streams joining and leaving."""
    order = random.Random(seed)
    waiting = {chunks[0].stream: list(chunks) for chunks in sentences}
    heard: dict[int, DecodeResult] = {number: [] for number in waiting}
    opened: set[int] = set()
    closed: list[int] = []
    while waiting:
        riders = [number for number in waiting if order.random() < 0.6] or [min(waiting)]
        order.shuffle(riders)
        works = [waiting[number].pop(0) for number in riders]
        new = tuple(number for number in riders if number not in opened)
        opened |= set(new)
        result = backend.step(Step(opened=new, closed=tuple(closed), chunks=tuple(works)))
        closed = [number for number in riders if not waiting[number]]
        for number, said in zip(riders, result.heard, strict=True):
            heard[number].append(said.tokens)
        waiting = {number: chunks for number, chunks in waiting.items() if chunks}
    backend.step(Step(closed=tuple(closed)))
    return list(heard.values())


@settings(max_examples=10)
@given(
    lengths=st.lists(st.integers(300, 60_000), min_size=2, max_size=12), seed=st.integers(0, 999)
)
def test_streams_together_hear_what_each_hears_alone(
    backend: PyTorchBackend, lengths: list[int], seed: int
) -> None:
    audio = [speechlike(length / 16_000, seed + n) for n, length in enumerate(lengths)]
    alone = [transcribe(backend, samples) for samples in audio]
    chunks = [list(chunks_of(backend, n, samples)) for n, samples in enumerate(audio)]
    for together, single in zip(run_together(backend, chunks, seed), alone, strict=True):
        assert_same(together, single)


def test_one_among_sixty_hears_what_it_hears_alone(backend: PyTorchBackend) -> None:
    audio = [speechlike(1.0 + n * 0.05, n) for n in range(60)]
    chunks = [list(chunks_of(backend, n, samples)) for n, samples in enumerate(audio)]
    together = run_together(backend, chunks, seed=1)
    for number in (0, 31, 59):
        assert_same(together[number], transcribe(backend, audio[number]))


def test_streams_in_steps_side_by_side_hear_what_each_hears_alone(backend: PyTorchBackend) -> None:
    audio = [speechlike(2.0 + n * 0.3, n) for n in range(12)]
    chunks = [list(chunks_of(backend, n, samples)) for n, samples in enumerate(audio)]
    with ThreadPoolExecutor(2) as lanes:
        halves = lanes.map(
            lambda half: run_together(backend, half, seed=2), (chunks[::2], chunks[1::2])
        )
        even, odd = list(halves)
    for number, samples in enumerate(audio):
        together = (odd if number % 2 else even)[number // 2]
        assert_same(together, transcribe(backend, samples))


@pytest.mark.parametrize("kind", [Kind.PREVIEW, Kind.SPECULATE])
def test_looking_ahead_leaves_no_trace(backend: PyTorchBackend, kind: Kind) -> None:
    audio = speechlike(3.0, 5)
    backend.step(Step(opened=(1,)))
    heard = []
    for work in chunks_of(backend, 1, audio):
        short = work.pcm[: len(work.pcm) * 2 // 3]
        backend.step(Step(chunks=(DecodeWork(1, kind, work.first, short),)))
        heard.append(backend.step(Step(chunks=(work,))).heard[0].tokens)
    backend.step(Step(closed=(1,)))
    assert_same(heard, transcribe(backend, audio))


def test_a_new_sentence_knows_nothing_of_the_one_before(backend: PyTorchBackend) -> None:
    first, second = speechlike(4.0, 6), speechlike(2.0, 7)
    backend.step(Step(opened=(1,)))
    for work in chunks_of(backend, 1, first):
        backend.step(Step(chunks=(work,)))
    heard = [
        backend.step(Step(chunks=(work,))).heard[0].tokens for work in chunks_of(backend, 1, second)
    ]
    backend.step(Step(closed=(1,)))
    assert_same(heard, transcribe(backend, second))


def test_a_stream_in_anothers_slot_knows_nothing_of_it(backend: PyTorchBackend) -> None:
    expected = transcribe(backend, speechlike(2.0, 8))
    transcribe(backend, speechlike(5.0, 9))
    assert_same(transcribe(backend, speechlike(2.0, 8)), expected)


@pytest.mark.parametrize("place", ["_paraformer._decode", "_punctuate", "_judge"])
def test_a_step_that_fails_changes_nothing(
    backend: PyTorchBackend, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    audio = speechlike(3.0, 10)
    expected = transcribe(backend, audio)
    backend.step(Step(opened=(1,)))
    heard = []
    for work in chunks_of(backend, 1, audio):
        with monkeypatch.context() as broken:
            owner, name = (backend, place) if "." not in place else (backend._paraformer, "_decode")
            broken.setattr(owner, name, _fail)
            with pytest.raises(RuntimeError, match="device fault"):
                backend.step(Step(judge=(VadWork(1, audio[:512]),), chunks=(work,)))
        heard.append(backend.step(Step(chunks=(work,))).heard[0].tokens)
    backend.step(Step(closed=(1,)))
    assert_same(heard, expected)


def _fail(*_: object) -> None:
    raise RuntimeError("device fault")
