"""Inverse text normalization: the contract is itn_cases.tsv, the laws are here."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asr_server.text.itn import normalise, rewrites, without_open_number, written_units
from asr_server.text.numerals import NUMERAL, value, written
from asr_server.text.tokens import Unit

with open(Path(__file__).with_name("itn_cases.tsv"), encoding="utf-8", newline="") as _file:
    CASES = list(csv.DictReader(_file, delimiter="\t", quoting=csv.QUOTE_NONE))

SPOKEN = st.text(
    st.sampled_from(NUMERAL + "点分之比乘年月日号块元米度下负第几个小时半刻周AG" + "好是，")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["spoken"])
def test_the_written_form_is_the_expected_one(case: dict[str, str]):
    assert normalise(case["spoken"]) == case["written"]


def test_the_cases_are_hundreds_of_both_kinds():
    kept = sum(case["spoken"] == case["written"] for case in CASES)
    assert len(CASES) >= 300
    assert min(kept, len(CASES) - kept) >= 100


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["spoken"])
def test_a_written_form_stays_when_it_is_normalised_again(case: dict[str, str]):
    assert normalise(case["written"]) == case["written"]


@given(SPOKEN)
def test_rewrites_are_in_order_and_apart_and_inside_the_text(text: str):
    position = 0
    for begin, end, new in rewrites(text):
        assert position <= begin < end <= len(text)
        assert new
        position = end


@given(SPOKEN)
def test_every_rewrite_replaces_a_number_and_writes_no_numeral_but_the_large_scales(text: str):
    for begin, end, new in rewrites(text):
        assert set(text[begin:end]) & set(NUMERAL)
        assert not set(new) & set(NUMERAL) - set("万亿")


@given(st.text())
def test_text_without_numerals_is_untouched(text: str):
    plain = "".join(char for char in text if char not in NUMERAL)
    assert normalise(plain) == plain


@given(SPOKEN)
@example("一百一斤")
@example("三千一个月")
def test_normalising_twice_is_normalising_once(text: str):
    once = normalise(text)
    assert normalise(once) == once


@given(SPOKEN, SPOKEN)
def test_text_before_a_mark_does_not_change_text_behind_it(left: str, right: str):
    left = left + "，"
    right = "，" + right
    assert normalise(left + right) == normalise(left) + normalise(right)


@pytest.mark.parametrize("unit", ["十五", "一加", "三千一个月", "百分之", "二比", "点一", "一百"])
def test_the_time_for_a_repeated_numeral_is_linear(unit: str):
    assert len(normalise(unit * 1000)) <= 2000 * len(unit)  # a slow pattern would never return


def interim(text: str) -> str:
    """What is shown of the characters said so far."""
    units = without_open_number([Unit(char, n, n + 1, 1.0) for n, char in enumerate(text)])
    return "".join(unit.text for unit in written_units(units))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("一共三百二", "一共"),
        ("一共三百二十块", "一共320块"),
        ("湿度百分之五十", "湿度"),
        ("圆周率是三点", "圆周率是"),
        ("圆周率是三点一", "圆周率是"),
        ("我想一", "我想"),
        ("我想一想", "我想一想"),
        ("电话是幺三八零", "电话是1380"),  # only grows
        ("电话是幺三", "电话是"),
        ("三百二", "320"),  # nothing else is there to show
        ("", ""),
    ],
)
def test_an_interim_ends_before_an_open_number(said: str, shown: str):
    assert interim(said) == shown


def test_an_interim_rarely_retracts_a_character():
    shown = taken_back = 0
    for case in CASES:
        before = ""
        for length in range(1, len(case["spoken"]) + 1):
            now = interim("好的" + case["spoken"][:length])
            same = len(os.path.commonprefix([before, now]))
            shown += len(now) - same
            taken_back += len(before) - same
            before = now
    assert taken_back <= 0.05 * shown  # 0.29 if numbers are shown while they are said


@given(st.integers(1, 10**12))
def test_a_spoken_number_has_the_value_of_its_digits(number: int):
    assert value(said(number)) == number


def said(number: int) -> str:
    """An integer as it is said in full."""
    digits = "零一二三四五六七八九"
    if number >= 10**8:
        high, low = divmod(number, 10**8)
        return said(high) + "亿" + rest(low, 10**7)
    if number >= 10**4:
        high, low = divmod(number, 10**4)
        return said(high) + "万" + rest(low, 10**3)
    for scale, name in ((1000, "千"), (100, "百"), (10, "十")):
        if number >= scale:
            return digits[number // scale] + name + rest(number % scale, scale // 10)
    return digits[number]


def rest(number: int, expected: int) -> str:
    """What follows a scale: 零 where the next smaller one is missing."""
    if not number:
        return ""
    return ("零" if number < expected else "") + said(number)


@pytest.mark.parametrize(
    ("spoken", "digits"),
    [("三点一四", "3.14"), ("一点二亿", "1.2亿"), ("零零七", "007"), ("两千五", "2500")],
)
def test_a_spoken_number_is_written(spoken: str, digits: str):
    assert written(spoken) == digits
