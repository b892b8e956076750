"""Hotwords as a client lists them: what is allowed, and how the model would spell them."""

import re
from collections.abc import Collection

from asr_server.text.tokens import CONTINUES

WEIGHTS = frozenset({1, 2, 3, 4, 5, 50})
"""How much a word is wanted; 50 makes it a super hotword."""

MOST_CHARACTERS = 15
"""Of a word with anything but ASCII in it."""

MOST_PARTS = 7
"""Parts between spaces of a word in ASCII."""

LONGEST_ASCII = 60
"""Characters of a word in ASCII; a bound of ours, for none is documented."""

LONGEST_PIECE = 20
"""Letters of a piece that are looked for in the vocabulary."""

_PARTS = re.compile(r"[A-Za-z']+|[^A-Za-z'\s]")


def check(word: str, weight: int) -> None:
    """Raise `ValueError` with a sentence for the client if the service would not take the word."""
    if type(weight) is not int or weight not in WEIGHTS:
        raise ValueError(f"The weight of a hotword must be 1 to 5, or 50, not {weight!r}.")
    if not word.strip():
        raise ValueError("A hotword must not be empty.")
    if not word.isascii() and len(word) > MOST_CHARACTERS:
        raise ValueError(f"A hotword may have {MOST_CHARACTERS} characters, not {len(word)}.")
    if word.isascii() and len(word) > LONGEST_ASCII:
        raise ValueError(f"A hotword may have {LONGEST_ASCII} characters, not {len(word)}.")
    if word.isascii() and len(word.split()) > MOST_PARTS:
        raise ValueError(f"A hotword may have {MOST_PARTS} parts, not {len(word.split())}.")


def spellings(word: str, vocabulary: Collection[str]) -> list[tuple[str, ...]]:
    """The tokens that would say the word, one way or two; none if the vocabulary lacks some.

    Capitals may be an acronym said letter by letter ("NBD") as well as a word ("NASA").
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
    """The fewest pieces that make a word, the first ones long; a character is its own piece."""
    size = len(word)
    fewest: list[list[str] | None] = [*[None] * size, []]  # for what follows each place
    for begin in reversed(range(size)):
        for end in range(begin + 1, min(size, begin + LONGEST_PIECE) + 1):
            piece = word[begin:end] + (CONTINUES if end < size else "")
            rest, known = fewest[end], fewest[begin]
            if piece in vocabulary and rest is not None:
                if known is None or len(rest) < len(known):
                    fewest[begin] = [piece, *rest]
    return fewest[0]
