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

from asr_server.text.itn_rules import RULES, Span
from asr_server.text.number_tokens import ANY_NUMBER, AS_TOKENS, tokenise
from asr_server.text.numerals import NUMERAL
from asr_server.text.tokens import Unit, merged, needs_space

_HAS_NUMERAL = re.compile(f"[{NUMERAL}]")
_OPEN_NUMBER = re.compile(f"(?:[{NUMERAL}]+(?:点|分之?)?)+$")
_CODE = re.compile("[零〇幺一二三四五六七八九]{3,}")
_NEXT = re.compile(f"[负{ANY_NUMBER}]|百分|千分之".translate(AS_TOKENS))
_RULE = re.compile(
    "|".join(f"(?P<{rule.name}>{rule.pattern})" for rule in RULES).translate(AS_TOKENS)
)
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
    tokens = tokenise(text)

    def part(begin: int, end: int) -> Span:
        """Return a part of the text, given by tokens."""
        begin, end = tokens.begins[begin], tokens.begins[end]
        return begin, end, text[begin:end]

    found: list[Span] = []
    position = 0
    while here := _NEXT.search(tokens.kinds, position):
        position = here.end()
        begin = tokens.begins[here.start()]
        if text[begin - 1 : begin].isdecimal() or (found and found[-1][1] == begin):
            continue  # it would join the number before
        match = _RULE.match(tokens.kinds, here.start())
        if not match:
            continue
        name = match.lastgroup or ""
        numbers = [part(*match.span(g)) for g in _GROUPS[name] if match[g] is not None]
        found += _BY_NAME[name].spans(part(*match.span()), numbers)
        position = match.end()
    return found


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
