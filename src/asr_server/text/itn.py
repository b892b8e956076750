"""Rewrite spoken Chinese numbers to the written form (inverse text normalization).

Only the numbers change: 下午三点半 is 下午3点半, not 3:30 p.m.; 三百二十块五 is 320块5;
一千三百五十万 is 1350万. So every rewritten span has characters of its own, with their times and
confidence, and an interim text grows instead of changing (docs/adr/0011-itn.md).

Numbers are rewritten if they measure, date, price, count from ten up, or name a code. Numbers that
readers expect in 汉字 stay: idioms and names (四舍五入, 九寨沟), approximate numbers (两三天,
十几个), single digits before an ordinary measure word (三个人), ordinals below ten (第一次),
weekdays.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from asr_server.text.itn_rules import KEPT, RULES, Span
from asr_server.text.numerals import DIGIT, NUMERAL
from asr_server.text.tokens import Unit, merged, needs_space

_HAS_NUMERAL = re.compile(f"[{NUMERAL}]")
_OPEN_NUMBER = re.compile(f"(?:[{NUMERAL}]+(?:点|分之?)?)+$")
_CODE = re.compile(f"{DIGIT}{{3,}}")
_NEXT = re.compile(f"(?P<kept>{KEPT})|负|[{NUMERAL}]+")
_RULE = re.compile("|".join(f"(?P<{rule.name}>{rule.pattern})" for rule in RULES))
_STARTS = [*(_RULE.groupindex[rule.name] for rule in RULES), _RULE.groups + 1]
_GROUPS = {
    rule.name: range(first + 1, after)
    for rule, (first, after) in zip(RULES, pairwise(_STARTS), strict=True)
}
"""The group numbers of each rule."""
_BY_NAME = {rule.name: rule for rule in RULES}


def rewrites(text: str) -> list[Span]:
    """Return the rewrites of a text in order; the text between them stays."""
    if not _HAS_NUMERAL.search(text):
        return []
    found: list[Span] = []
    position = 0
    while here := _NEXT.search(text, position):
        position = here.end()
        if here["kept"] or _continues_digits(text, here.start(), found):
            continue
        match = _RULE.match(text, here.start())
        if not match:
            continue
        name = match.lastgroup or ""
        groups = [g for g in _GROUPS[name] if match[g] is not None]
        try:
            found += _BY_NAME[name].spans(match, groups)
        except ValueError:  # the parts form no number
            continue
        position = match.end()
    return found


def _continues_digits(text: str, start: int, found: list[Span]) -> bool:
    """Return whether digits precede directly, so that more of them would join that number."""
    return text[start - 1 : start].isdecimal() or bool(found and found[-1][1] == start)


def normalise(text: str) -> str:
    """Return the written form of a text: 百分之七十三点八 -> 73.8%."""
    parts: list[str] = []
    position = 0
    for begin, end, written in rewrites(text):
        parts += (text[position:begin], written)
        position = end
    return "".join(parts) + text[position:]


def written_units(units: Sequence[Unit]) -> list[Unit]:
    """Return the units of the written form; a rewritten span is one unit with the span's times."""
    text = ""
    owner: list[int] = []  # the unit of each character
    for index, unit in enumerate(units):
        text += " " + unit.text if needs_space(text, unit.text) else unit.text
        text += unit.mark
        owner += [index] * (len(text) - len(owner))
    result: list[Unit] = []
    done = 0
    for begin, end, written in rewrites(text):
        first, last = owner[begin], owner[end - 1] + 1
        result += units[done:first]
        result.append(merged(units[first:last], written))
        done = last
    return [*result, *units[done:]]


def without_open_number(units: Sequence[Unit]) -> list[Unit]:
    """Return the units of an interim without a number at its end that may still change.

    三百二 may become 320块, 325 or 30200, and readers would see each in turn. Single digits, as of
    a telephone number, only grow and stay. A number that begins the text stays too, because a late
    first text is worse.
    """
    text = "".join(unit.text + unit.mark for unit in units)
    number = _OPEN_NUMBER.search(text)
    if number is None or number.start() == 0 or _CODE.fullmatch(number[0]):
        return list(units)
    return list(units[: len(units) - len(number[0])])
