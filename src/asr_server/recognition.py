"""Define what passes from the recogniser to the conversation."""

from dataclasses import dataclass

from asr_server.audio.units import Samples
from asr_server.text.tokens import Token


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Hold the recognised tokens of one sentence; each replaces the one before it.

    A final hypothesis closes its sentence: the next one belongs to the next sentence.
    """

    begin: Samples
    """Where speech begins, from the start of the task."""
    end: Samples | None
    """Where speech ended, or None while the sentence is open."""
    tokens: tuple[Token, ...]
    paused: bool = False
    """Whether a silence follows the last token, so that no number or word is cut off."""

    @property
    def final(self) -> bool:
        """Return whether nothing will change any more."""
        return self.end is not None


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Report that speech begins, for tasks that ask for it: the text comes later, if any."""

    begin: Samples
    """As in the hypotheses of its first sentence."""


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """Mark that everything pushed before `finish` has been recognised and delivered."""


RecognitionEvent = Hypothesis | SpeechStarted | EndOfStream
