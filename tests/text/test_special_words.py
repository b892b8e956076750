"""The filter of special words."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.text.special_words import SpecialWords
from asr_server.text.tokens import Unit

DOCUMENTED = {
    "filter_with_signed": {"word_list": ["测试"]},
    "filter_with_empty": {"word_list": ["开始", "发生"]},
    "system_reserved_filter": True,
}


def shown(said: str, words: SpecialWords) -> str:
    units = [Unit(char, i, i + 1, 1.0) for i, char in enumerate(said)]
    return "".join(unit.text + unit.mark for unit in words.apply(units))


@pytest.mark.parametrize("form", [DOCUMENTED, json.dumps(DOCUMENTED)])
def test_the_documented_examples_hold(form: object):
    words = SpecialWords.parse(form)
    assert shown("帮我测试一下这段代码", words) == "帮我**一下这段代码"
    assert shown("比赛这就要开始了吗", words) == "比赛这就要了吗"


@pytest.mark.parametrize("given", [None, "", {}, {"system_reserved_filter": True}, "{}"])
def test_an_empty_filter_changes_nothing(given: object):
    words = SpecialWords.parse(given)
    assert not words
    assert shown("测试", words) == "测试"


@pytest.mark.parametrize(
    "given",
    [
        "no json",
        "[" * 100_000,
        "[]",
        7,
        {"filter_with_signed": ["测试"]},
        {"filter_with_empty": {"word_list": "测试"}},
        {"filter_with_empty": {"word_list": [1]}},
        {"filter_with_empty": {"word_list": ["测" * 101]}},
        {"filter_with_empty": {"word_list": ["测"] * 1001}},
    ],
)
def test_a_filter_of_another_form_or_size_is_refused_and_the_parameter_named(given: object):
    with pytest.raises(ValueError, match="payload.parameters.special_word_filter"):
        SpecialWords.parse(given)


@given(
    masked=st.frozensets(st.text("天地玄", min_size=1, max_size=3), max_size=5),
    removed=st.frozensets(st.text("天地玄", min_size=1, max_size=3), max_size=5),
    said=st.text("天地玄黄", max_size=12),
)
def test_words_apply_from_left_to_right_as_a_regular_expression_would(masked, removed, said):
    longest_first = sorted(masked | removed, key=len, reverse=True)
    pattern = "|".join(longest_first) or "$^"
    expected = re.sub(pattern, lambda m: "" if m[0] in removed else "*" * len(m[0]), said)
    assert shown(said, SpecialWords(masked, removed)) == expected


def test_the_mark_of_a_removed_last_word_moves_to_the_word_before():
    units = [Unit("好", 0, 1, 1.0), Unit("坏", 1, 2, 1.0, "。")]
    kept = SpecialWords(removed=frozenset("坏")).apply(units)
    assert [(unit.text, unit.mark) for unit in kept] == [("好", "。")]


def test_the_longest_word_at_a_position_applies():
    words = SpecialWords(masked=frozenset({"测", "测试"}), removed=frozenset())
    assert shown("测试测", words) == "***"


def test_part_of_a_longer_unit_is_masked():
    units = [Unit("1350万", 0, 1, 1.0)]
    (unit,) = SpecialWords(masked=frozenset({"350"})).apply(units)
    assert unit.text == "1***万"
