"""Validate a client's hotwords and spell them in the model's tokens."""

import re
from collections.abc import Collection
from typing import TypeAlias

from asr_server.text.tokens import CONTINUES

Hotwords: TypeAlias = tuple[tuple[str, int], ...]
"""Words and their weights."""

SUPER = 50
WEIGHTS = frozenset({1, 2, 3, 4, 5, SUPER})
"""Allowed weights; 50 marks a super hotword."""

MAX_CHARACTERS = 15
"""Of a word that is not ASCII."""

MAX_PARTS = 7
"""Space-separated parts of an ASCII word."""

MAX_ASCII = 60
"""Characters of an ASCII word; our bound, because DashScope documents none."""

MAX_PIECE = 20
"""Letters of a piece that is looked up in the vocabulary."""

_PARTS = re.compile(r"[A-Za-z']+|[^A-Za-z'\s]")


def check(word: str, weight: int) -> None:
    """Raise `ValueError`, with a sentence for the client, if DashScope would refuse the word."""
    if type(weight) is not int or weight not in WEIGHTS:
        raise ValueError(f"The weight of a hotword must be 1 to 5, or 50, not {weight!r}.")
    if not word.strip():
        raise ValueError("A hotword must not be empty.")
    if not word.isascii() and len(word) > MAX_CHARACTERS:
        raise ValueError(f"A hotword may have {MAX_CHARACTERS} characters, not {len(word)}.")
    if word.isascii() and len(word) > MAX_ASCII:
        raise ValueError(f"A hotword may have {MAX_ASCII} characters, not {len(word)}.")
    if word.isascii() and len(word.split()) > MAX_PARTS:
        raise ValueError(f"A hotword may have {MAX_PARTS} parts, not {len(word.split())}.")


def spellings(word: str, vocabulary: Collection[str]) -> list[tuple[str, ...]]:
    """Return the word's one or two token sequences; none if the vocabulary lacks a token.

    Capitals may be an acronym spoken letter by letter ("NBD") or a word ("NASA").
    """
    found = [_spell(_PARTS.findall(word.lower()), vocabulary)]
    if word.isascii() and word.isupper():
        letters = tuple(letter for letter in word.lower() if letter.isalpha())
        found.append(letters if all(letter in vocabulary for letter in letters) else None)
    return list(dict.fromkeys(spelling for spelling in found if spelling))


def _spell(parts: list[str], vocabulary: Collection[str]) -> tuple[str, ...] | None:
    pieces: list[str] = []
    for part in parts:
        spelled = _latin(part, vocabulary)
        if spelled is None:
            return None
        pieces += spelled
    return tuple(pieces)


def _latin(word: str, vocabulary: Collection[str]) -> list[str] | None:
    """Return the fewest pieces that form a word, longer ones first; a character is a piece."""
    size = len(word)
    fewest: list[list[str] | None] = [*[None] * size, []]  # of the rest from each position on
    for begin in reversed(range(size)):
        for end in range(begin + 1, min(size, begin + MAX_PIECE) + 1):
            piece = word[begin:end] + (CONTINUES if end < size else "")
            rest, known = fewest[end], fewest[begin]
            if piece in vocabulary and rest is not None:
                if known is None or len(rest) < len(known):
                    fewest[begin] = [piece, *rest]
    return fewest[0]
