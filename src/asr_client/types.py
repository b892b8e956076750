"""What the client returns and takes: sentences, events, parameters."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Word:
    """A word, its time span, and the punctuation that follows it."""

    begin_ms: int
    end_ms: int
    text: str
    punctuation: str = ""
    confidence: float | None = None  # 0..1, only where the request asked for it


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence; an interim is replaced by the next of the same `index`, never appended to."""

    index: int  # counts from 0 over the whole stream, also across reconnections
    begin_ms: int
    end_ms: int | None  # None while the sentence is open
    text: str
    words: tuple[Word, ...] = ()
    is_final: bool = False
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Caption:
    """A piece of a sentence that is short enough for a subtitle."""

    begin_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Started:
    """The server accepted the task; `resumed` counts the reconnections so far."""

    task_id: str
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class Interim:
    """The current hypothesis of the open sentence."""

    sentence: Sentence


@dataclass(frozen=True, slots=True)
class Final:
    """A sentence that will not change any more."""

    sentence: Sentence


@dataclass(frozen=True, slots=True)
class Finished:
    """All audio that was sent has been recognised."""

    duration_ms: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream gave up; the iterator raises `error` next."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Level:
    """The loudness of one frame in dB below full scale."""

    rms_db: float
    peak_db: float


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection was lost; the next attempt comes in `delay_s`."""

    attempt: int
    delay_s: float
    error: Exception


Event = Started | Interim | Final | Finished | Failed | Level | Reconnecting


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a task under their protocol names; None leaves one to the server.

    `sample_rate` describes raw PCM that is pushed or read; a WAV file states its own.
    """

    sample_rate: int = 16000
    format: str = "pcm"
    max_sentence_silence: int | None = None
    """Milliseconds of silence that end a sentence, 200 to 6000."""
    punctuation_prediction_enabled: bool | None = None
    inverse_text_normalization_enabled: bool | None = None
    disfluency_removal_enabled: bool | None = None
    semantic_punctuation_enabled: bool | None = None
    multi_threshold_mode_enabled: bool | None = None
    language_hints: tuple[str, ...] | None = None
    vocabulary_id: str | None = None
    vocabulary: Mapping[str, int] | None = None
    """Hotwords with weights 1 to 5, or 50."""
    word_confidence_enabled: bool | None = None
    heartbeat: bool = True
    """Keeps the task alive through minutes of silence."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters to put into the request."""

    def on_wire(self, audio_format: str, sample_rate: int) -> dict[str, Any]:
        """Return the request's `parameters` for audio of this format."""
        given = {
            name: value
            for name in self.__slots__
            if name != "extra" and (value := getattr(self, name)) is not None
        }
        return {**given, **self.extra, "format": audio_format, "sample_rate": sample_rate}


@dataclass(frozen=True, slots=True)
class Retry:
    """When and how often a lost connection is tried again."""

    attempts: int = 8
    """In a row without any progress, once the stream has started."""
    initial_attempts: int = 0
    """Before the stream has started: an unreachable server is reported at once."""
    first_delay_s: float = 0.25
    max_delay_s: float = 8.0

    def delay_s(self, attempt: int) -> float:
        """Return the delay, doubled with each attempt; half is random so that clients spread."""
        full: float = min(self.max_delay_s, self.first_delay_s * 2**attempt)
        return full * (0.5 + random.random() / 2)
