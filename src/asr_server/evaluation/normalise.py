"""Which differences between two texts count: the units that are compared, and the form of numbers.

Compared are 汉字 one by one, digits one by one and Latin words as a whole. Width (Ａ, A), case,
punctuation, symbols and spaces do not count; a point inside a number and a percent sign do, since
they are said. Traditional and simplified characters differ: convert one of the texts beforehand.
"""

import re
import unicodedata
from collections.abc import Iterable

from asr_server.text import itn

_LATIN = "a-zà-öø-ɏ"
_UNIT = re.compile(
    rf"(?P<said>[{_LATIN}]+(?:'[{_LATIN}]+)*|\d|(?<=\d)\.(?=\d)|(?<=\d)%|(?<=\d )%)|(?P<other>\S)"
)
_WORD, _WORD_END = re.compile(f"[{_LATIN}]"), re.compile(f"[{_LATIN}]$")
_APOSTROPHES = str.maketrans("’‘`", "'''")
_UNHEARD = frozenset("PSCZ")
"""Unicode categories of what is not said: punctuation, symbols, control characters, spaces."""

DIGITS = dict(zip("零〇幺一二两三四五六七八九", "0011223456789", strict=True))


def units(text: str) -> list[str]:
    """What of a text counts, in order."""
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
    return [found[0] for found in _UNIT.finditer(text) if found["said"] or _is_said(found[0])]


def _is_said(char: str) -> bool:
    return unicodedata.category(char)[0] not in _UNHEARD


def joined(parts: Iterable[str]) -> str:
    """Units as a text again, with spaces between Latin words."""
    text = ""
    for part in parts:
        text += " " + part if _WORD_END.search(text) and _WORD.match(part) else part
    return text


def written_numbers(parts: Iterable[str]) -> list[str]:
    """The same text with numbers as they are written: 二十九度 and 29度 become the same units."""
    return units(itn.normalise(joined(parts)))


def same_digit(unit: str) -> str:
    """The unit for comparison where 三 and 3 are to be the same; 一起 becomes 1起 on both sides."""
    return DIGITS.get(unit, unit)
