"""Turn the recogniser's tokens into the text of a whole sentence.

A sentence is detokenised as a whole, never chunk by chunk: the rest of a piece that continues
("hel@@") may come in the next chunk.

Spacing follows DashScope: a space between two Latin words, none between 汉字 and Latin ("听because
of you"), none beside a punctuation mark. Consecutive letters are an acronym ("n b d" is NBD) and a
single letter is a capital (A股, 5G, "plan B"), but for the article, the rest of a contraction ("it
s") and names (iPhone, i7).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

CONTINUES = "@@"
"""The end of a piece whose word continues in the next token."""

SILENT = frozenset({"", "<blank>", "<s>", "</s>", "<sos>", "<eos>", "<sos/eos>", "<unk>", "<pad>"})
"""Pieces without text."""


@dataclass(frozen=True, slots=True)
class Token:
    """Hold one token of the model's vocabulary, with its position in the task's audio."""

    piece: str
    """As in the vocabulary: one Chinese character, a word, or a piece that continues ("hel@@")."""

    begin: int
    """First 16 kHz sample, counted from the start of the task."""

    end: int
    """One past the last sample; never before `begin`."""

    confidence: float
    """Posterior probability of this token, 0 to 1."""

    mark: str = ""
    """Predicted punctuation after the token, or nothing."""


_I_NAMES = {
    "i" + name.lower(): "i" + name
    for name in ("Phone", "Pad", "Mac", "Pod", "OS", "Cloud", "Watch", "Tunes")
}
"""Names with a small letter, by how the recogniser writes them."""

_CONTRACTED = frozenset("i you we he she it they that what there who where how let".split())
"""Words before "s", "m" or "d" without an apostrophe (it s), as those in n before "t" (don t)."""

_PARTS = re.compile(r"[A-Za-z0-9']+|[^A-Za-z0-9']")


class Unit(NamedTuple):
    """Hold the smallest text with its own times: one Chinese character or one Latin word."""

    text: str
    begin: int
    """First sample of the first token."""
    end: int
    """One past the last sample of the last token."""
    confidence: float
    """The lowest of its tokens."""
    mark: str = ""
    """Predicted punctuation after the unit, or nothing."""


def is_latin(char: str) -> bool:
    """Return whether a character needs spaces: ASCII letters, digits, apostrophe."""
    return char.isascii() and (char.isalnum() or char == "'")


def needs_space(left: str, right: str) -> bool:
    """Return whether a space separates two units: between letters, not beside a digit."""
    if not left or not right or not is_latin(right[0]):
        return False
    if left[-1] in ",.?!":
        return True
    return is_latin(left[-1]) and not left[-1].isdigit() and not right[0].isdigit()


def joined(first: str, second: str) -> str:
    """Return two texts one after another, with a space between Latin words."""
    return f"{first} {second}" if needs_space(first, second) else first + second


def merged(units: Sequence[Unit], text: str) -> Unit:
    """Return one unit with another text, the times of all units and their lowest confidence."""
    confidence = min(unit.confidence for unit in units)
    return Unit(text, units[0].begin, units[-1].end, confidence, units[-1].mark)


def detokenise(tokens: Sequence[Token]) -> list[Unit]:
    """Return the units of a sentence, in order; each text token is in exactly one of them."""
    return _capitals(_units(tokens))


def _units(tokens: Sequence[Token]) -> list[Unit]:
    units: list[Unit] = []
    open_word: Unit | None = None  # a Latin word that continues
    for token in tokens:
        piece = token.piece.strip()
        if piece in SILENT:
            continue
        text = piece.removesuffix(CONTINUES)
        unit = Unit(text, token.begin, token.end, token.confidence, token.mark)
        if open_word and is_latin(text[:1] or "'"):
            unit = merged((open_word, unit), open_word.text + text)
        elif open_word:  # its rest is missing
            units.append(open_word)
        open_word = unit if unit.text and text != piece else None
        if unit.text and not open_word:
            units += [unit] if len(unit.text) == 1 or unit.text.isascii() else _split(unit)
    if open_word:
        units.append(open_word)
    return units


def _split(unit: Unit) -> list[Unit]:
    """Split a token of several 汉字, its time in proportion to the lengths."""
    length, size = unit.end - unit.begin, len(unit.text)
    parts = []
    for part in _PARTS.finditer(unit.text):
        begin, end = (unit.begin + length * at // size for at in part.span())
        parts.append(Unit(part[0], begin, end, unit.confidence))
    parts[-1] = parts[-1]._replace(mark=unit.mark)
    return parts


def _capitals(units: list[Unit]) -> list[Unit]:
    """Join runs of single letters to acronyms; write single letters as capitals."""
    shown: list[Unit] = []
    run: list[Unit] = []  # consecutive single letters
    for index, unit in enumerate(units):
        if not _is_letter(unit):
            name = _name(unit.text)
            shown.append(unit._replace(text=name) if name else unit)
            if len(run) == 1 and not run[0].mark and (name := _name(run[0].text + unit.text)):
                shown[-2:] = [merged((run[0], unit), name)]
            run = []
            continue
        run = [*run, unit] if run and not run[-1].mark else [unit]
        after = units[index + 1].text if index + 1 < len(units) and not unit.mark else ""
        if len(after) == 1 and _is_word(after):
            continue
        before = shown[-1].text if shown and not shown[-1].mark else ""
        shown.append(merged(run, _letters("".join(u.text for u in run), before, after)))
    return shown


def _letters(letters: str, before: str, after: str) -> str:
    """Return single letters as they are written between two words."""
    article = letters == "a" and _is_word(after)
    contraction = (letters in {*"smd"} and before in _CONTRACTED) or (letters, before[-1:]) == (
        "t",
        "n",
    )
    processor = letters == "i" and after in {*"三五七九"}
    return (
        letters if article or contraction or processor else _I_NAMES.get(letters, letters.upper())
    )


def _name(text: str) -> str:
    """Return the written form of a name with a small letter: iphone15 -> iPhone15; or nothing."""
    stem = text.lower().rstrip("0123456789")
    return _I_NAMES[stem] + text[len(stem) :] if stem in _I_NAMES else ""


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalpha()


def _is_letter(unit: Unit) -> bool:
    return len(unit.text) == 1 and _is_word(unit.text)
