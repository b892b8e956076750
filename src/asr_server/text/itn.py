"""Inverse text normalization: spoken Chinese numbers to the form a reader expects.

What is said stays readable character by character: 下午三点半 is 下午3点半, not 3:30 p.m.;
三百二十块五 is 320块5; 一千三百五十万 is 1350万. So every rewritten span belongs to characters of
its own, times and confidence can be read through it, and an interim text grows instead of
changing shape (docs/adr/0001-itn.md).

Numbers are rewritten where they measure, date, price, count from ten up, or name a code. What a
reader expects in 汉字 stays: idioms and names (四舍五入, 九寨沟), loose numbers (两三天, 十几个),
single digits before an ordinary measure word (三个人), ordinals below ten (第一次), weekdays.
"""

import re
from typing import NamedTuple

from asr_server.text.itn_rules import KEPT, RULES
from asr_server.text.numerals import NUMERAL

_HAS_NUMERAL = re.compile(f"[{NUMERAL}]")
_NEXT = re.compile(f"(?P<kept>{KEPT})|负|[{NUMERAL}]+")
_RULE = re.compile("|".join(f"(?P<{rule.name}>{rule.pattern})" for rule in RULES))
_INDEX = {rule.name: _RULE.groupindex[rule.name] for rule in RULES}
_GROUPS = {
    rule.name: range(_INDEX[rule.name] + 1, _INDEX[rule.name] + 1 + re.compile(rule.pattern).groups)
    for rule in RULES
}
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
        found += (Rewrite(*span) for span in _WRITE[name](match, groups))
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
