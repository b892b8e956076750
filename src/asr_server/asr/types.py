"""The values that travel between the connection, the engine and the device."""

from dataclasses import dataclass, field

from asr_server.audio.endpoint import EndpointOptions
from asr_server.audio.units import Samples
from asr_server.text.tokens import Token


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What one task asks of the recogniser."""

    endpoint: EndpointOptions = field(default_factory=EndpointOptions)
    punctuate: bool = True
    """Predict punctuation marks for the tokens of a sentence."""
    interim: bool = True
    """Deliver hypotheses of a sentence that is still open."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What is heard of one sentence so far; a later one with the same number replaces it."""

    sentence: int
    """Number of the sentence in its stream, from 0."""
    begin: Samples
    """Where the speech begins, from the start of the task."""
    end: Samples | None
    """Where the speech ended, or None while the sentence is open."""
    tokens: tuple[Token, ...]

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.end is not None


@dataclass(frozen=True, slots=True)
class Drained:
    """Everything pushed before `finish()` has been heard and delivered."""


Event = Hypothesis | Drained
