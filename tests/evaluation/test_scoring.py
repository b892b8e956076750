"""Errors are counted once and rates have intervals."""

from hypothesis import given
from hypothesis import strategies as st

from asr_server.evaluation.normalise import units
from asr_server.evaluation.scoring import Score, align, confidence_interval, score

TEXTS = st.text("天地玄黄宇宙12ab ", max_size=12)


def counts(reference: str, hypothesis: str, **options: bool) -> tuple[int, int, int]:
    scored = score(reference, hypothesis, **options)
    return scored.count("substitute"), scored.count("delete"), scored.count("insert")


def test_each_kind_of_error_is_counted():
    assert counts("今天天气", "今天天气") == (0, 0, 0)
    assert counts("今天天气", "今天天汽") == (1, 0, 0)
    assert counts("今天天气", "今天气") == (0, 1, 0)
    assert counts("今天天气", "今天的天气") == (0, 0, 1)
    assert counts("今天天气", "") == (0, 4, 0)


def test_the_rate_can_exceed_one():
    assert score("好", "你好吗朋友").rate == 4.0


@given(TEXTS, TEXTS)
def test_an_alignment_holds_both_texts_and_nothing_else(reference, hypothesis):
    edits = align(units(reference), units(hypothesis)).edits
    assert [edit.reference for edit in edits if edit.reference] == units(reference)
    assert [edit.hypothesis for edit in edits if edit.hypothesis] == units(hypothesis)
    assert all((edit.kind == "equal") == (edit.reference == edit.hypothesis) for edit in edits)


@given(TEXTS)
def test_a_text_has_no_error_against_itself(text):
    assert score(text, text, normalise_numbers=True).errors == 0


def test_runs_are_the_text_in_pieces():
    runs = score("打开smart home的灯", "打开smart phone灯").runs
    assert [(run.kind, run.reference, run.hypothesis) for run in runs] == [
        ("equal", "打开smart", "打开smart"),
        ("substitute", "home", "phone"),
        ("delete", "的", ""),
        ("equal", "灯", "灯"),
    ]


def test_a_number_in_its_other_form_is_an_error_unless_asked():
    assert score("设定29度", "设定二十九度").errors > 0
    assert score("设定29度", "设定二十九度", normalise_numbers=True).errors == 0


def test_an_error_inside_a_number_counts_once():
    reference, hypothesis = "百分之七十三点八", "百分之七十三店八"
    assert score(reference, hypothesis).errors == 1
    assert score(reference, hypothesis, normalise_numbers=True).errors == 1


def several(*errors: int, characters: int = 10) -> list[Score]:
    return [score("天" * characters, "天" * (characters - count)) for count in errors]


def test_the_interval_holds_the_rate_and_narrows_with_more_recordings():
    few, many = several(*[0, 1, 2, 0] * 5), several(*[0, 1, 2, 0] * 50)
    low, high = confidence_interval(few, [None] * len(few))
    closer_low, closer_high = confidence_interval(many, [None] * len(many))
    assert low < closer_low < 0.075 < closer_high < high
    assert (high - low) / (closer_high - closer_low) > 2.5  # about the root of ten


def test_errors_that_go_with_the_speaker_widen_the_interval():
    scores = several(*([0] * 10 + [3] * 10) * 6)
    speakers = [f"s{index // 10}" for index in range(len(scores))]
    low, high = confidence_interval(scores, [None] * len(scores))
    assert confidence_interval(scores, speakers)[1] > high
    assert confidence_interval(scores, speakers)[0] < low


def test_no_error_is_no_proof_of_none():
    assert confidence_interval(several(0, 0, 0), [None] * 3) == (0.0, 0.1)


def test_too_few_recordings_have_no_interval():
    assert confidence_interval(several(1, 0, 2), [None] * 3) is None
