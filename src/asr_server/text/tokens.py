"""Tokens as the recogniser fires them, and the text of a whole sentence made from them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the model's vocabulary, heard at a place in the task's audio."""

    piece: str
    """As in the vocabulary: one Chinese character, a word, or a piece that continues ("hel@@")."""

    begin: int
    """First 16 kHz sample, counted from the start of the task."""

    end: int
    """One past the last sample; never before `begin`."""

    confidence: float
    """Posterior probability of this token, 0 to 1."""

    mark: str = ""
    """Punctuation that follows the token, or nothing."""
