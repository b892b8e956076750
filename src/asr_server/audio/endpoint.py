"""Speech probabilities to sentences: where speech begins and where a sentence ends. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How one task wants its sentences cut."""

    max_sentence_silence_ms: int = 800
    """A silence longer than this ends the sentence (DashScope `max_sentence_silence`)."""
