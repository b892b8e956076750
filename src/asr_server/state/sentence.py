"""Render a hypothesis as the words that the client sees, with times in milliseconds."""

from collections.abc import Sequence

from asr_server.audio.units import to_ms
from asr_server.protocol.commands import Parameters
from asr_server.protocol.events import Word
from asr_server.recognition import Hypothesis
from asr_server.text.disfluency import fluent
from asr_server.text.itn import without_open_number, written_units
from asr_server.text.punctuation import punctuated, unpunctuated
from asr_server.text.special_words import SpecialWords
from asr_server.text.tokens import Unit, detokenise, needs_space
from asr_server.text.words import grouped

NO_SPECIAL_WORDS = SpecialWords()


def render(
    hypothesis: Hypothesis, asked: Parameters, special_words: SpecialWords = NO_SPECIAL_WORDS
) -> tuple[Word, ...]:
    """Return the words of a sentence; joined with their punctuation they are its text.

    Like the service's, a final has words of one or more characters, an interim one word for every
    unit. An interim of speech that has not paused ends before an incomplete number.
    """
    final = hypothesis.final
    units = detokenise(hypothesis.tokens)
    if asked.disfluency_removal_enabled:
        units = fluent(units)
    if asked.punctuation_prediction_enabled:
        units = punctuated(units, final=final)
    else:
        units = unpunctuated(units)
    if asked.inverse_text_normalization_enabled:
        units = written_units(units if final or hypothesis.paused else without_open_number(units))
    if special_words:
        units = special_words.apply(units)
    if final:
        units = grouped(units)
    end = None if hypothesis.end is None else to_ms(hypothesis.end)
    return _timed(units, to_ms(hypothesis.begin), end, asked.word_confidence_enabled)


def _timed(
    units: Sequence[Unit], begin_ms: int, end_ms: int | None, confidence: bool
) -> tuple[Word, ...]:
    """Return words one after another inside the sentence, each at least 1 ms long.

    A final shorter than 1 ms a word is the exception: its words reach past its end.
    """
    words: list[Word] = []
    text, cursor = "", begin_ms
    for index, unit in enumerate(units):
        begin, end = to_ms(unit.begin), to_ms(unit.end)
        if end_ms is not None:  # leave 1 ms for each word that follows
            latest = end_ms - (len(units) - index)
            begin, end = min(begin, latest), min(end, latest + 1)
        begin = max(begin, cursor)
        cursor = end = max(end, begin + 1)
        shown = " " + unit.text if needs_space(text, unit.text) else unit.text
        words.append(Word(begin, end, shown, unit.mark, unit.confidence if confidence else None))
        text += shown + unit.mark
    return tuple(words)
