"""Find candidate names in a conversation, to favour them as hotwords of the lowest weight.

Text is split at everything that is no letter, digit or 汉字. A Latin part is a candidate if it has
a capital or a digit. 汉字 are segmented with the lexicon of common words: what neither it nor the
list of function words covers is a candidate if it has two to six characters, and so is what
stands between function words if it is short and no row of common words (白云山, of which the
lexicon knows 白云). Numbers are no names.

There is no model of names: common words that the lexicon lacks become candidates as well. They
do little harm, because the weight is low (measured with `benchmarks.hotwords context`).
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from asr_server.text.hotwords import MAX_ASCII, Hotwords
from asr_server.text.tokens import Unit
from asr_server.text.words import grouped

WEIGHT = 1
MOST_NAMES = 200
"""Candidates of one context; the last ones count."""
LONGEST_NAME = 6
"""Characters of a candidate in 汉字."""
LONGEST_WHOLE = 4
"""Characters of a candidate that has a common word in it."""

FUNCTION_WORDS = frozenset(
    "的了是在和与跟把被给为吗呢吧啊我你您他她它们这那就都也还很不没有说请对去来要会"
)
_NUMERALS = frozenset("零一二三四五六七八九十两几第")

_PARTS = re.compile(r"[A-Za-z][A-Za-z0-9'-]+|[\u3400-\u9fff]{2,}")


def context_hotwords(texts: Sequence[str]) -> Hotwords:
    """Return the candidate names of a context with their weight."""
    found = [name for text in texts for name in _candidates(text)]
    last_first = list(dict.fromkeys(reversed(found)))
    return tuple((name, WEIGHT) for name in last_first[:MOST_NAMES])


def _candidates(text: str) -> Iterator[str]:
    for part in _PARTS.findall(text):
        if part.isascii():
            if not part.islower() and len(part) <= MAX_ASCII:
                yield part
            continue
        words = [unit.text for unit in grouped([Unit(char, 0, 0, 1.0) for char in part])]
        for function, section in groupby(words, FUNCTION_WORDS.__contains__):
            if not function:
                yield from _names(list(section))


def _names(words: list[str]) -> Iterator[str]:
    """Yield the candidates in words without a function word between them."""
    whole = "".join(words)
    candidates = [whole] if len(whole) <= LONGEST_WHOLE and len(min(words, key=len)) == 1 else []
    for single, run in groupby(words, lambda word: len(word) == 1):
        if single:
            candidates.append("".join(run))
    for name in candidates:
        if 2 <= len(name) <= LONGEST_NAME and name[0] not in _NUMERALS:
            yield name
