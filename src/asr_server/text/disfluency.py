"""Fillers and repeated starts taken out of the text; the times of what stays do not change.

Conservative: what can be meant is kept. 啊 after a word is a particle (好啊), 额 in 额外 is a
syllable, 谢谢 and 对对对 and 看看 are words; only function words that nobody doubles are taken for
a false start, and only when speech goes on after it.
"""

from collections.abc import Sequence

from asr_server.text.tokens import Unit

FILLERS = frozenset({"嗯", "呃", "um", "uh", "er", "hmm"})
"""Never a word of their own."""

OPENERS = frozenset({"啊", "额", "哎", "诶", "欸", "唉", "哦"})
"""Fillers where nothing stands before them, in the sentence or since the last mark."""

NOT_AFTER_OPENER = frozenset("外度头角定满呀哟哈")
"""额外, 额度, 哎呀: with these an opener makes a word."""

DOUBLED = frozenset("我你他她它这那就但把被从")
"""Characters that are said twice only by mistake: 我我要去."""

STARTS = DOUBLED | frozenset("因所如然")
"""First characters of what speakers repeat when they start again: 这个这个, 因为因为."""

MEANT = frozenset({"你好", "那么", "就算"})
"""Repeated on purpose, or harmless."""

LONGEST_START = 4
PAUSES = frozenset({"", "，", "、"})
"""Marks that may stand between a false start and the new one."""


def fluent(units: Sequence[Unit]) -> list[Unit]:
    """The units without fillers and false starts; all of them if nothing else was said."""
    spoken = _without_fillers(units)
    return _without_false_starts(spoken) if spoken else list(units)


def _without_fillers(units: Sequence[Unit]) -> list[Unit]:
    kept: list[Unit] = []
    opening = True  # nothing said since the last mark
    for index, unit in enumerate(units):
        after = units[index + 1].text if index + 1 < len(units) and not unit.mark else ""
        opener = opening and unit.text in OPENERS and after not in NOT_AFTER_OPENER
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
    """How many units from here on are said again at once, with more to follow."""
    if units[index].text not in STARTS:
        return 0
    for length in range(1, LONGEST_START + 1):
        first, again = units[index : index + length], units[index + length : index + 2 * length]
        goes_on = index + 2 * length < len(units) and not again[-1].mark
        if not goes_on:
            return 0
        if length == 1 and units[index].text not in DOUBLED:
            continue
        same = all(a.text == b.text for a, b in zip(first, again, strict=True))
        unbroken = all(not unit.mark for unit in first[:-1]) and first[-1].mark in PAUSES
        if same and unbroken and "".join(unit.text for unit in first) not in MEANT:
            return length
    return 0
