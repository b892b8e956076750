"""Where an open sentence may be closed between two of its tokens. Pure.

The recogniser goes on unhindered: only the text is cut, so no sound is lost and no word halved.
"""

from collections.abc import Sequence

from asr_server.audio.units import Samples
from asr_server.text.tokens import Token

SENTENCE_MARKS = frozenset("。？！")

SETTLED_TOKENS = 4
"""Tokens that must follow an end mark before it is believed: marks close to the end still move."""

LOOKED_BACK_ON = 30
"""Tokens among which the best place is looked for when a sentence must be cut."""


def semantic_cut(tokens: Sequence[Token], settled: int = SETTLED_TOKENS) -> int | None:
    """How many tokens the first complete sentence has; None while there is none.

    Its end mark counts once `settled` tokens follow it.
    """
    for count, token in enumerate(tokens[: max(0, len(tokens) - settled)], start=1):
        if token.mark in SENTENCE_MARKS:
            return count
    return None


def forced_cut(tokens: Sequence[Token], begin: Samples, longest: Samples) -> int | None:
    """How many tokens to close a sentence with that grew too long; None while it has not.

    The place is behind a mark if there is one, and where the next token comes latest.
    """
    if len(tokens) < 2 or tokens[-1].end - begin < longest:
        return None
    first = max(1, len(tokens) - LOOKED_BACK_ON)

    def fitness(count: int) -> tuple[bool, Samples]:
        return bool(tokens[count - 1].mark), tokens[count].end - tokens[count - 1].end

    return max(range(first, len(tokens)), key=fitness)
