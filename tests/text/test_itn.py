"""Inverse text normalization: the contract is in the two tables, the laws are here."""

import os
import re
from collections import Counter
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asr_server.text import number_tokens
from asr_server.text.itn import normalise, rewrites, without_open_number, written_units
from asr_server.text.numerals import NUMERAL, value, written
from asr_server.text.tokens import Unit
from tests.text.cases import table, wrong

ORDINARY = table("itn_cases.tsv")
KINDS = table("itn_kinds.tsv")
"""Phrases that look like other numbers than they are, at least ten of every kind."""
CASES = ORDINARY + KINDS
GROUPS: dict[str, list[dict[str, str]]] = {}
"""The cases of each category and kind. A test of its own would take a case 20 times as long."""
for case in CASES:
    GROUPS.setdefault(case.get("kind") or case["category"], []).append(case)

SPOKEN = st.text(
    st.sampled_from(NUMERAL + "点分之比乘年月日号块元米度下负第几个小时半刻周AG" + "好是，")
)


@pytest.mark.parametrize("group", GROUPS)
def test_the_written_form_is_the_expected_one(group: str):
    assert wrong(normalise, [(case["spoken"], case["written"]) for case in GROUPS[group]]) == []


def test_the_cases_are_hundreds_of_both_kinds():
    kept = sum(case["spoken"] == case["written"] for case in CASES)
    assert len(CASES) >= 300
    assert min(kept, len(CASES) - kept) >= 100
    assert min(Counter(case["kind"] for case in KINDS).values()) >= 10


@pytest.mark.parametrize("group", GROUPS)
def test_a_written_form_stays_when_it_is_normalised_again(group: str):
    assert wrong(normalise, [(case["written"], case["written"]) for case in GROUPS[group]]) == []


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
    for case in ORDINARY:
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


DIGITS = "零一二三四五六七八九"


def one_by_one(digits: str) -> str:
    return "".join(DIGITS[int(digit)] for digit in digits)


def number_in(text: str) -> int:
    """The value of a written number: 14亿4349万7378."""
    total = 0
    for amount, scale in re.findall(r"(\d+)(万亿|亿|万|)", text):
        total += int(amount) * {"": 1, "万": 10**4, "亿": 10**8, "万亿": 10**12}[scale]
    return total


@given(st.integers(10, 10**12))
def test_an_integer_that_is_counted_has_its_value(number: int):
    assert number_in(normalise(said(number) + "个人")) == number


@given(st.integers(0, 10**6), st.text("0123456789", min_size=1, max_size=6))
def test_a_percentage_has_its_digits(whole: int, fraction: str):
    spoken = f"百分之{said(whole) if whole else '零'}点{one_by_one(fraction)}"
    *_, written_whole, last = re.split(r"[.%]", normalise(spoken))[:2]
    assert (number_in(written_whole), last) == (whole, fraction)


@given(st.integers(1, 24), st.integers(1, 59))
def test_a_time_of_day_has_its_digits(hour: int, minute: int):
    spoken = f"上午{said(hour)}点{'零' if minute < 10 else ''}{said(minute)}"
    assert normalise(spoken) == f"上午{hour}点{minute:02}"
    assert normalise(spoken + "分") == f"上午{hour}点{minute:02}分"


@given(st.dates(date(1000, 1, 1)), st.sampled_from("周 星期 礼拜".split()), st.booleans())
def test_a_date_has_its_digits_also_after_its_weekday(day: date, week: str, month_first: bool):
    month = f"{said(day.month)}月" if month_first else ""
    spoken = f"{week}{'一二三四五六日'[day.weekday()]}{month}{said(day.day)}号"
    shown = f"{day.month}月" if month_first else ""
    assert normalise(spoken).endswith(f"{'一二三四五六日'[day.weekday()]}{shown}{day.day}号")
    year = one_by_one(str(day.year))
    spoken = f"{year}年{said(day.month)}月{said(day.day)}日"
    assert normalise(spoken) == f"{day.year}年{day.month}月{day.day}日"


@given(st.integers(10, 99999), st.integers(1, 9), st.sampled_from("盒 桶 斤 件 学期 小时".split()))
def test_a_price_for_one_has_the_price(price: int, jiao: int, unit: str):
    assert (
        normalise(f"{said(price)}块{DIGITS[jiao]}一{unit}") == f"{price_in(price)}块{jiao}一{unit}"
    )


def price_in(price: int) -> str:
    return f"{price // 10**4}万" if price % 10**4 == 0 else str(price)


NEAR = ["一二", "二三", "三四", "四五", "五六", "六七", "七八", "八九", "两三"]


@given(
    st.sampled_from(NEAR),
    st.sampled_from(
        "百分之{} 千分之{} 零下{}度 {}点五 {}个 {}百块 {}千 十{}个 二十{}岁 {}十个 一百{}十斤 {}点"
        " {}块五 百分之{}十 三百{} {}万 {}十几 第{}名 {}年 {}成 {}分钟 零下{}十度"
        " 百分之三到{}".split()
    ),
)
def test_an_approximate_number_stays(near: str, form: str):
    assert normalise(form.format(near)) == form.format(near)


@given(SPOKEN)
def test_no_digit_appears_that_was_not_said(text: str):
    """Every digit of a rewritten span but 0 stands for one of its 汉字."""
    for begin, end, new in rewrites(text):
        values = ["0123456789".index(d) for d in new if d.isdecimal() and d != "0"]
        said_digits = [DIGITS_OF[c] for c in text[begin:end] if DIGITS_OF.get(c)]
        assert sorted(values) == sorted(said_digits) or "十" in text[begin:end]


DIGITS_OF = dict(zip("零〇幺一二两三四五六七八九", [0, 0, 1, 1, 2, 2, *range(3, 10)], strict=True))


@given(SPOKEN)
def test_units_keep_their_order_and_times_when_numbers_are_rewritten(text: str):
    text = text.replace("A", "").replace("G", "")  # between letters stands a space
    units = [Unit(char, n * 10, n * 10 + 10, 1.0) for n, char in enumerate(text)]
    shown = written_units(units)
    assert "".join(unit.text for unit in shown) == normalise(text)
    ends = [0, *(unit.end for unit in shown)]
    assert [unit.begin for unit in shown] == ends[:-1]
    assert ends[-1] == 10 * len(text)


def test_a_fixed_phrase_stays_and_is_listed_for_a_reason(monkeypatch: pytest.MonkeyPatch):
    phrases = {phrase for same in number_tokens.FIXED_PHRASES.values() for phrase in same}
    assert {phrase for phrase in phrases if normalise(phrase) != phrase} == set()
    monkeypatch.setattr(number_tokens, "FIXED_PHRASES", {})
    assert {
        phrase for phrase in phrases if normalise(phrase + "二十点") == phrase + "20点"
    } == set()


@pytest.mark.parametrize(
    ("spoken", "digits"),
    [("三点一四", "3.14"), ("一点二亿", "1.2亿"), ("零零七", "007"), ("两千五", "2500")],
)
def test_a_spoken_number_is_written(spoken: str, digits: str):
    assert written(spoken) == digits
