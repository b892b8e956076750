"""Confidences against what came of them."""

import pytest

from asr_server.evaluation.calibration import Judged, binned, calibration_error, judge, pooled
from asr_server.evaluation.reliability import wilson
from asr_server.evaluation.scoring import score
from asr_server.protocol.events import Sentence, Word


def sentence(*words: tuple[str, float | None]) -> Sentence:
    text = "".join(word for word, _ in words)
    return Sentence(1, 0, 1000, text, tuple(Word(0, 1, word, "", sure) for word, sure in words))


def test_a_word_is_right_if_all_of_it_is():
    heard = [sentence(("今天", 0.9), ("田气", 0.4)), sentence(("好", 0.8))]
    words, whole = judge(heard, score("今天天气好", "今天田气好"))
    assert words == [Judged(0.9, 1.0), Judged(0.4, 0.0), Judged(0.8, 1.0)]
    assert whole == [Judged(pytest.approx(0.65), 0.75), Judged(0.8, 1.0)]


def test_what_was_missed_has_no_confidence_and_what_was_invented_is_wrong():
    words, _ = judge([sentence(("今天", 0.9), ("啊", 0.3))], score("就在今天", "今天啊"))
    assert words == [Judged(0.9, 1.0), Judged(0.3, 0.0)]


def test_without_confidences_nothing_is_judged():
    assert judge([sentence(("今天", None))], score("今天", "今天")) == ([], [])


def test_words_that_do_not_make_up_the_text_are_not_judged():
    assert judge([sentence(("今", 0.9))], score("今天", "今天")) == ([], [])


def test_the_calibration_error_is_the_mean_distance_from_the_truth():
    honest = [Judged(0.75, 1.0)] * 3 + [Judged(0.75, 0.0)]
    assert calibration_error(binned(honest)) == pytest.approx(0)
    boasting = [Judged(0.95, 1.0), Judged(0.95, 0.0)]
    assert calibration_error(binned(boasting)) == pytest.approx(0.45)
    assert calibration_error(binned(honest + boasting)) == pytest.approx(0.45 * 2 / 6)


def test_every_confidence_has_a_bin():
    bins = binned([Judged(n / 20, 1.0) for n in range(21)])
    assert sum(one.count for one in bins) == 21
    assert bins[-1].count == 3  # 0.9, 0.95 and 1 itself


def test_pooled_bins_are_those_of_everything_together():
    one, other = [Judged(0.31, 1.0), Judged(0.9, 0.0)], [Judged(0.35, 0.0)]
    together = pooled([binned(one), binned(other)])
    assert [(b.count, b.right) for b in together] == [
        (b.count, b.right) for b in binned(one + other)
    ]


def test_the_interval_of_a_share_stays_between_nothing_and_all():
    low, high = wilson(1.0, 5)
    assert low == pytest.approx(0.566, abs=0.001)
    assert high == pytest.approx(1.0)
