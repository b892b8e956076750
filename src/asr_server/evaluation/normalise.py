"""The units by which two texts are compared, and the form of numbers in them.

Compared are 汉字 one by one, digits one by one and Latin words as a whole. Width (Ａ, A), case,
punctuation, symbols and spaces do not count; a point inside a number and a percent sign do, since
they are spoken. Traditional and simplified characters differ: convert one of the texts beforehand.
"""

import re
import unicodedata
from collections.abc import Iterable

from asr_server.text import itn

_LATIN = "a-zà-öø-ɏ"
_UNIT = re.compile(
    rf"(?P<spoken>[{_LATIN}]+(?:'[{_LATIN}]+)*|\d|(?<=\d)\.(?=\d)|(?<=\d)%|(?<=\d )%)|(?P<other>\S)"
)
_WORD, _WORD_END = re.compile(f"[{_LATIN}]"), re.compile(f"[{_LATIN}]$")
_APOSTROPHES = str.maketrans("’‘`", "'''")
_UNSPOKEN = frozenset("PSCZ")
"""Unicode categories of unspoken characters: punctuation, symbols, control, spaces."""

DIGITS = dict(zip("零〇幺一二两三四五六七八九", "0011223456789", strict=True))


def units(text: str) -> list[str]:
    """Return the units of a text, in order."""
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
    return [
        found[0]
        for found in _UNIT.finditer(text)
        if found["spoken"] or unicodedata.category(found[0])[0] not in _UNSPOKEN
    ]


def joined(parts: Iterable[str]) -> str:
    """Return units as a text again, with spaces between Latin words."""
    text = ""
    for part in parts:
        text += " " + part if _WORD_END.search(text) and _WORD.match(part) else part
    return text


def written_numbers(parts: Iterable[str]) -> list[str]:
    """Return the text with numbers as digits: 二十九度 and 29度 become the same units."""
    return units(itn.normalise(joined(parts)))


def same_digit(unit: str) -> str:
    """Return the unit for a comparison that equates 三 and 3; 一起 becomes 1起 on both sides."""
    return DIGITS.get(unit, unit)
