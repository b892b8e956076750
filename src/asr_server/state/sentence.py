"""What is shown of one sentence: its text and words with times, from its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from asr_server.audio.units import SAMPLE_RATE, Samples
from asr_server.text.disfluency import fluent
from asr_server.text.itn import without_open_number, written_units
from asr_server.text.punctuation import punctuated, unpunctuated
from asr_server.text.special_words import SpecialWords
from asr_server.text.tokens import Token, Unit, detokenise, needs_space
from asr_server.text.words import grouped

SHORTEST: Samples = SAMPLE_RATE // 1000
"""A word lasts at least a millisecond, so that its times differ on the wire."""

NOTHING_SPECIAL = SpecialWords()


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
    paused: bool = False,
    itn: bool,
    punctuation: bool,
    disfluency_removal: bool = False,
    special_words: SpecialWords = NOTHING_SPECIAL,
) -> Rendered:
    """The text and the words of a sentence that began at `begin` and, if over, ended at `end`.

    A final has words of one or more characters, an interim one word for every unit, as the service
    shows them. An interim of speech that is not `paused` ends before a number half said.
    """
    units = detokenise(tokens)
    if disfluency_removal:
        units = fluent(units)
    units = punctuated(units, final=final) if punctuation else unpunctuated(units)
    if itn:
        units = written_units(units if final or paused else without_open_number(units))
    if special_words:
        units = special_words.apply(units)
    if final:
        units = grouped(units)
    return _timed(units, begin, end)


def _timed(units: Sequence[Unit], begin: Samples, end: Samples | None) -> Rendered:
    """Words one after another inside the sentence, each at least a millisecond long.

    Only a sentence shorter than a millisecond a word reaches past its end.
    """
    words: list[Word] = []
    text, cursor = "", begin
    for index, unit in enumerate(units):
        start, stop = unit.begin, unit.end
        if end is not None:  # leave room for the words behind
            room = end - SHORTEST * (len(units) - index)
            start, stop = min(start, room), min(stop, room + SHORTEST)
        start = max(start, cursor)
        cursor = stop = max(stop, start + SHORTEST)
        shown = " " + unit.text if needs_space(text, unit.text) else unit.text
        words.append(Word(shown, unit.mark, start, stop, unit.confidence))
        text += shown + unit.mark
    return Rendered(text, tuple(words))
