"""Remove fillers and false starts; the times of all other units stay.

Conservative: units that may be intended stay. 啊 after a word is a particle (好啊), 额 in 额外 is a
syllable, 谢谢, 对对对 and 看看 are words; only function words that are never doubled count as a
false start, and only if more text follows.
"""

from collections.abc import Sequence

from asr_server.text.tokens import Unit

FILLERS = frozenset({"嗯", "呃", "um", "uh", "er", "hmm"})
"""Never words."""

OPENERS = frozenset({"啊", "额", "哎", "诶", "欸", "唉", "哦"})
"""Fillers at the begin of the sentence or after a mark."""

NO_FILLER_BEFORE = frozenset("外度头角定满呀哟哈")
"""Characters that form a word with an opener: 额外, 额度, 哎呀."""

DOUBLED = frozenset("我你他她它这那就但把被从")
"""Characters that are repeated only by mistake: 我我要去."""

STARTS = DOUBLED | frozenset("因所如然")
"""First characters of false starts: 这个这个, 因为因为."""

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
        opener = opening and unit.text in OPENERS and after not in NO_FILLER_BEFORE
        if unit.text not in FILLERS and not opener:
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
        if same and unbroken and "".join(unit.text for unit in first) not in INTENDED:
            return length
    return 0
