"""Sentences of all lengths are punctuated together, and none of them notices."""

import random

import pytest
import torch

from asr_server.asr.nn.punctuation import TOGETHER, Punctuator
from asr_server.models.catalog import DEMO
from asr_server.models.registry import choose
from asr_server.settings import Settings

WORDS = "今天天气很好我们去公园散步然后回家吃饭你觉得怎么样呢明天要下雨了记得带伞"


@pytest.fixture(scope="module")
def punctuator() -> Punctuator:
    path = choose(Settings(model=DEMO)).punctuation
    assert path is not None
    return Punctuator.load(path)


def sentences(seed: int, count: int) -> list[str]:
    order = random.Random(seed)
    return ["".join(order.choices(WORDS, k=order.randrange(90))) for _ in range(count)]


def test_a_sentence_has_the_same_marks_in_any_company(punctuator: Punctuator) -> None:
    said = sentences(1, 40)
    together = punctuator.marks(said)
    assert together == [punctuator.marks([sentence])[0] for sentence in said]
    assert [len(marks) for marks in together] == [len(sentence) for sentence in said]
    assert sum(bool(mark) for marks in together for mark in marks) > 40


def test_no_more_is_computed_at_once_than_one_long_sentence_or_a_few_short_ones(
    punctuator: Punctuator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    forward = punctuator._model.forward

    def watched(tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tokens.shape))
        return forward(tokens, lengths)

    monkeypatch.setattr(punctuator._model, "forward", watched)
    punctuator.marks([*sentences(2, 60), "好" * (TOGETHER + 88), "", ""])
    assert (1, TOGETHER + 88) in seen
    assert all(rows == 1 or rows * length <= TOGETHER for rows, length in seen)
    assert len(seen) < 12


def test_nothing_said_needs_no_marks(punctuator: Punctuator) -> None:
    assert punctuator.marks([]) == []
    assert punctuator.marks(["", ""]) == [(), ()]
