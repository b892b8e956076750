"""Inverse text normalization: spoken Chinese numbers to the form a reader expects.

What is said stays readable character by character: 下午三点半 is 下午3点半, not 3:30 p.m.;
三百二十块五 is 320块5; 一千三百五十万 is 1350万. So every rewritten span belongs to characters of
its own, times and confidence can be read through it, and an interim text grows instead of
changing shape (docs/adr/0011-itn.md).

Numbers are rewritten where they measure, date, price, count from ten up, or name a code. What a
reader expects in 汉字 stays: idioms and names (四舍五入, 九寨沟), loose numbers (两三天, 十几个),
single digits before an ordinary measure word (三个人), ordinals below ten (第一次), weekdays.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from asr_server.text.itn_rules import KEPT, RULES
from asr_server.text.numerals import DIGIT, NUMERAL
from asr_server.text.tokens import Unit, merged, needs_space

_HAS_NUMERAL = re.compile(f"[{NUMERAL}]")
_HALF_SAID = re.compile(f"(?:[{NUMERAL}]+(?:点|分之?)?)+$")
_CODE = re.compile(f"{DIGIT}{{3,}}")
_NEXT = re.compile(f"(?P<kept>{KEPT})|负|[{NUMERAL}]+")
_RULE = re.compile("|".join(f"(?P<{rule.name}>{rule.pattern})" for rule in RULES))
_STARTS = [*(_RULE.groupindex[rule.name] for rule in RULES), _RULE.groups + 1]
_GROUPS = {
    rule.name: range(first + 1, after)
    for rule, (first, after) in zip(RULES, pairwise(_STARTS), strict=True)
}
"""The numbers of the groups inside each rule."""
_WRITE = {rule.name: rule.write for rule in RULES}


class Rewrite(NamedTuple):
    """A span of the spoken text and what is written instead."""

    begin: int
    end: int
    written: str


def rewrites(text: str) -> list[Rewrite]:
    """What is written otherwise than said, in order; everything between is kept as it is."""
    if not _HAS_NUMERAL.search(text):
        return []
    found: list[Rewrite] = []
    position = 0
    while here := _NEXT.search(text, position):
        position = here.end()
        if here["kept"] or _goes_on(text, here.start(), found):
            continue
        match = _RULE.match(text, here.start())
        if not match:
            continue
        name = match.lastgroup or ""
        groups = [g for g in _GROUPS[name] if match[g] is not None]
        try:
            spans = _WRITE[name](match, groups)
        except ValueError:  # parts in no order that makes a number
            continue
        found += (Rewrite(*span) for span in spans)
        position = match.end()
    return found


def _goes_on(text: str, start: int, found: list[Rewrite]) -> bool:
    """Whether digits stand directly before; more of them would be read as the same number."""
    return text[start - 1 : start].isdecimal() or bool(found and found[-1].end == start)


def normalise(text: str) -> str:
    """The text as it is written: 百分之七十三点八 -> 73.8%."""
    parts: list[str] = []
    position = 0
    for begin, end, written in rewrites(text):
        parts += (text[position:begin], written)
        position = end
    return "".join(parts) + text[position:]


def written_units(units: Sequence[Unit]) -> list[Unit]:
    """The units of the written form; a rewritten span is one unit, as long as what was said."""
    text = ""
    owner: list[int] = []  # of each character: the unit it belongs to
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


def said_whole(units: Sequence[Unit]) -> list[Unit]:
    """The units of an interim without the number at its end that may still go on.

    三百二 may become 320块, 325 or 30200, and who reads along would see each in turn. What only
    grows is shown: digits one by one, as of a telephone number. So is a number that begins the
    text, because a late first word is worse.
    """
    text = "".join(unit.text + unit.mark for unit in units)
    number = _HALF_SAID.search(text)
    if number is None or number.start() == 0 or _CODE.fullmatch(number[0]):
        return list(units)
    return list(units[: len(units) - len(number[0])])
