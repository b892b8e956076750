"""Remove fillers and false starts; the times of all other units stay.

Conservative: units that may be intended stay. 啊 after a word is a particle (好啊), 额 in 额外 is a
syllable, 谢谢, 对对对 and 看看 are words; only function words that are never doubled count as a
false start, and only if more text follows in which the second copy begins no word of the lexicon:
把把手拧开 is 把, 把手.
"""

from collections.abc import Sequence

from asr_server.text.tokens import Unit
from asr_server.text.words import LONGEST, WORDS

FILLERS = frozenset({"嗯", "呃", "um", "uh", "er", "hmm"})
"""Never words."""

OPENERS = frozenset({"啊", "额", "哎", "诶", "欸", "唉", "哦"})
"""Fillers at the begin of the sentence or after a mark."""

HESITATIONS = frozenset("额诶欸")
AFTER_WHICH_HESITATED = frozenset("我你您他她它们这那就但把被从在和跟想要去是会能")
"""The former are fillers within a sentence too if one of the latter precedes: 我额想去."""

NO_FILLER_BEFORE = frozenset("外度头角定满呀哟哈尔济吉骨")
"""Characters that form a word with an opener: 额外, 额度, 哎呀."""

DOUBLED = frozenset("我你他她它这那就但把被从")
"""Characters that are repeated only by mistake: 我我要去."""

STARTS = DOUBLED | frozenset("因所如然")
"""First characters of false starts: 这个这个, 因为因为."""

INFLECTED = DOUBLED - frozenset("那把被从")
SAME_WORD = frozenset("们个些样里边种么是儿会要次")
"""With the latter, one of the former is only inflected: 我我们, 就就是."""

INTENDED = frozenset({"你好", "那么", "就算"})
"""Repeated on purpose."""

MAX_START = 4
PAUSES = frozenset({"", "，", "、"})
"""Marks that may follow a false start."""


def fluent(units: Sequence[Unit]) -> list[Unit]:
    """Return the units without fillers and false starts; all units if nothing else is left."""
    kept = _without_fillers(units)
    return _without_false_starts(kept) if kept else list(units)


def _without_fillers(units: Sequence[Unit]) -> list[Unit]:
    kept: list[Unit] = []
    opening = True  # at the begin or after a mark
    for index, unit in enumerate(units):
        after = units[index + 1].text if index + 1 < len(units) and not unit.mark else ""
        hesitated = unit.text in HESITATIONS and kept and kept[-1].text in AFTER_WHICH_HESITATED
        opener = (opening and unit.text in OPENERS) or (hesitated and not kept[-1].mark and after)
        if unit.text not in FILLERS and not (opener and after not in NO_FILLER_BEFORE):
            kept.append(unit)
            opening = bool(unit.mark)
        elif kept and unit.mark not in PAUSES and not kept[-1].mark:
            kept[-1] = kept[-1]._replace(mark=unit.mark)  # the sentence ended with a filler
    return kept


def _without_false_starts(units: list[Unit]) -> list[Unit]:
    kept: list[Unit] = []
    index = 0
    while index < len(units):
        length = _false_start(units, index)
        if not length:
            kept.append(units[index])
        index += length or 1
    return kept


def _false_start(units: list[Unit], index: int) -> int:
    """Return how many units from here on are repeated at once, with more units to follow; or 0."""
    if units[index].text not in STARTS:
        return 0
    for length in range(1, MAX_START + 1):
        first, again = units[index : index + length], units[index + length : index + 2 * length]
        if index + 2 * length >= len(units) or again[-1].mark:
            return 0
        if length == 1 and units[index].text not in DOUBLED:
            continue
        same = all(a.text == b.text for a, b in zip(first, again, strict=True))
        unbroken = all(not unit.mark for unit in first[:-1]) and first[-1].mark in PAUSES
        if not same or not unbroken or "".join(unit.text for unit in first) in INTENDED:
            continue
        if not _word_begins(units, index + length, index + 2 * length):
            return length
    return 0


def _word_begins(units: list[Unit], begin: int, end: int) -> bool:
    """Return whether a word begins among the units from `begin` to `end` and goes on behind them.

    他说他说的对 is intended too: 他说的.
    """
    text = "".join(unit.text for unit in units[begin : end + LONGEST])
    size = len("".join(unit.text for unit in units[begin:end]))
    if size > 1 and text[size : size + 1] == "的":
        return True
    if size == 1 and text[0] in INFLECTED and text[1:2] in SAME_WORD:
        return False
    return any(
        text[first:last] in WORDS
        for first in range(size)
        for last in range(size + 1, min(first + LONGEST, len(text)) + 1)
    )
