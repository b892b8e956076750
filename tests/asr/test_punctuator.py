"""Sentences of all lengths are punctuated in batches, each as it is alone."""

import random

import pytest
import torch

from asr_server.asr.run.punctuator import MAX_TOKENS, Punctuator
from asr_server.models.catalog import DEMO
from asr_server.models.registry import choose
from asr_server.settings import Settings

WORDS = "今天天气很好我们去公园散步然后回家吃饭你觉得怎么样呢明天要下雨了记得带伞"


@pytest.fixture(scope="module")
def punctuator() -> Punctuator:
    path = choose(Settings(model=DEMO)).punctuation
    assert path is not None
    return Punctuator(path)


def sentences(seed: int, count: int) -> list[str]:
    order = random.Random(seed)
    return ["".join(order.choices(WORDS, k=order.randrange(90))) for _ in range(count)]


def test_a_sentence_has_the_same_marks_in_any_batch(punctuator: Punctuator) -> None:
    texts = sentences(1, 40)
    together = punctuator.marks(texts)
    assert together == [punctuator.marks([sentence])[0] for sentence in texts]
    assert [len(marks) for marks in together] == [len(sentence) for sentence in texts]
    assert sum(bool(mark) for marks in together for mark in marks) > 40


def test_no_more_is_computed_at_once_than_one_long_sentence_or_a_few_short_ones(
    punctuator: Punctuator, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    forward = punctuator.model.forward

    def watched(tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(tokens.shape))
        return forward(tokens, lengths)

    monkeypatch.setattr(punctuator.model, "forward", watched)
    punctuator.marks([*sentences(2, 60), "好" * (MAX_TOKENS + 88), "", ""])
    assert (1, MAX_TOKENS + 88) in shapes
    assert all(rows == 1 or rows * length <= MAX_TOKENS for rows, length in shapes)
    assert len(shapes) < 12


def test_empty_sentences_have_no_marks(punctuator: Punctuator) -> None:
    assert punctuator.marks([]) == []
    assert punctuator.marks(["", ""]) == [(), ()]
