"""Find where an open sentence may be closed between two of its tokens. Pure.

Decoding continues unchanged: only the text is cut, so no audio is lost and no word is split.
"""

from collections.abc import Sequence

from asr_server.audio.units import Samples
from asr_server.text.tokens import Token

SENTENCE_MARKS = frozenset("。？！")

SETTLED_TOKENS = 4
"""Tokens that must follow an end mark before it counts: marks close to the end still change."""

MAX_LOOK_BACK = 30
"""Tokens among which the best cut of a sentence that is too long is chosen."""


def semantic_cut(tokens: Sequence[Token], settled: int = SETTLED_TOKENS) -> int | None:
    """Return how many tokens the first complete sentence has; None while there is none.

    An end mark counts once `settled` tokens follow it.
    """
    for count, token in enumerate(tokens[: max(0, len(tokens) - settled)], start=1):
        if token.mark in SENTENCE_MARKS:
            return count
    return None


def forced_cut(tokens: Sequence[Token], begin: Samples, max_length: Samples) -> int | None:
    """Return after how many tokens to close a sentence that is too long; None while it is not.

    The cut is behind a mark if there is one, and where the gap to the next token is longest.
    """
    if len(tokens) < 2 or tokens[-1].end - begin < max_length:
        return None
    first = max(1, len(tokens) - MAX_LOOK_BACK)

    def fitness(count: int) -> tuple[bool, Samples]:
        return bool(tokens[count - 1].mark), tokens[count].end - tokens[count - 1].end

    return max(range(first, len(tokens)), key=fitness)
