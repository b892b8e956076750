"""Confidences against outcomes."""

import pytest

from asr_client.types import Sentence, Word
from asr_server.evaluation.calibration import (
    Prediction,
    binned,
    calibration_error,
    predictions,
)
from asr_server.evaluation.reliability import wilson
from asr_server.evaluation.scoring import score


def sentence(*words: tuple[str, float | None]) -> Sentence:
    text = "".join(word for word, _ in words)
    return Sentence(
        0, 0, 1000, text, tuple(Word(0, 1, word, "", confidence) for word, confidence in words)
    )


def test_a_word_is_right_if_all_of_it_is():
    recognised = [sentence(("今天", 0.9), ("田气", 0.4)), sentence(("好", 0.8))]
    words, whole = predictions(recognised, score("今天天气好", "今天田气好"))
    assert words == [Prediction(0.9, 1.0), Prediction(0.4, 0.0), Prediction(0.8, 1.0)]
    assert whole == [Prediction(pytest.approx(0.65), 0.75), Prediction(0.8, 1.0)]


def test_deleted_words_have_no_prediction_and_inserted_ones_are_wrong():
    words, _ = predictions([sentence(("今天", 0.9), ("啊", 0.3))], score("就在今天", "今天啊"))
    assert words == [Prediction(0.9, 1.0), Prediction(0.3, 0.0)]


def test_without_confidences_there_are_no_predictions():
    assert predictions([sentence(("今天", None))], score("今天", "今天")) == ([], [])


def test_words_that_do_not_make_up_the_text_give_no_predictions():
    assert predictions([sentence(("今", 0.9))], score("今天", "今天")) == ([], [])


def test_the_calibration_error_is_the_mean_distance_of_confidence_and_accuracy():
    calibrated = [Prediction(0.75, 1.0)] * 3 + [Prediction(0.75, 0.0)]
    assert calibration_error(binned(calibrated)) == pytest.approx(0)
    overconfident = [Prediction(0.95, 1.0), Prediction(0.95, 0.0)]
    assert calibration_error(binned(overconfident)) == pytest.approx(0.45)
    assert calibration_error(binned(calibrated + overconfident)) == pytest.approx(0.45 * 2 / 6)


def test_every_confidence_has_a_bin():
    bins = binned([Prediction(n / 20, 1.0) for n in range(21)])
    assert sum(one.count for one in bins) == 21
    assert bins[-1].count == 3  # 0.9, 0.95 and 1 itself


def test_without_predictions_there_is_no_calibration_error():
    assert calibration_error(binned([])) is None


def test_the_interval_of_a_share_stays_between_nothing_and_all():
    low, high = wilson(1.0, 5)
    assert low == pytest.approx(0.566, abs=0.001)
    assert high == pytest.approx(1.0)
