"""What is shown of one sentence: its text and words with times, from its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from asr_server.audio.units import SAMPLE_RATE, Samples
from asr_server.text.tokens import Token, detokenise, needs_space

SHORTEST: Samples = SAMPLE_RATE // 1000
"""A word lasts at least a millisecond, so that its times differ on the wire."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text, what follows it, and when it was said."""

    text: str
    """One or more characters; a Latin word after another carries the space before it."""
    punctuation: str
    """The mark after it, or nothing."""
    begin: Samples
    end: Samples
    confidence: float
    """That of its least certain token, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A sentence as it is shown."""

    text: str
    """Always the words and their punctuation, joined."""
    words: tuple[Word, ...]


def render(
    tokens: Sequence[Token],
    *,
    begin: Samples,
    end: Samples | None,
    final: bool,
    itn: bool,
    punctuation: bool,
    disfluency_removal: bool = False,
) -> Rendered:
    """The text and the words of a sentence that began at `begin` and, if over, ended at `end`.

    Words follow one another inside the sentence and each lasts at least a millisecond; only a
    sentence shorter than a millisecond a word reaches past its end.
    """
    words: list[Word] = []
    units = detokenise(tokens)
    cursor, text = begin, ""
    for index, unit in enumerate(units):
        start, stop = unit.begin, unit.end
        if end is not None:  # leave room for the words behind
            room = end - SHORTEST * (len(units) - index)
            start, stop = min(start, room), min(stop, room + SHORTEST)
        start = max(start, cursor)
        cursor = stop = max(stop, start + SHORTEST)
        mark = unit.mark if punctuation else ""
        shown = " " + unit.text if needs_space(text, unit.text) else unit.text
        words.append(Word(shown, mark, start, stop, unit.confidence))
        text += shown + mark
    return Rendered(text, tuple(words))
