"""Find where speech begins and where sentences end, from speech probabilities. Pure.

Hysteresis with four states, as in Silero's `VADIterator` and pipecat's `VADAnalyzer`; a sentence
ends by DashScope's rule (`max_sentence_silence`, protocol page "run-task").
"""

from dataclasses import dataclass
from enum import Enum, auto

from asr_server.audio.units import Samples, from_ms

WINDOW: Samples = 512
"""Samples of one probability: 32 ms, the only window of Silero VAD at 16 kHz."""

ONSET_LAG, RELEASE_LAG = from_ms(48), from_ms(128)
"""Delay of Silero's detection of the begin and end of speech: the medians on recordings of known
times, whose ends agree with the energy of the audio to 10 ms (docs/adr/0006-stable-interims.md)."""

ONSET: Samples = from_ms(80)
"""Shorter speech is a click."""
PAUSE: Samples = from_ms(320)
"""A silence of this length is a pause: the sentence may end here. No shorter one ends it, because
after the lag the rest may as well be a soft syllable."""

SHRINK_FROM, SHRINK_TO = from_ms(10_000), from_ms(30_000)
"""Between these lengths of a sentence a shrinking silence falls to `PAUSE`."""


@dataclass(frozen=True, slots=True)
class EndpointingOptions:
    """Hold how one task cuts its sentences."""

    max_sentence_silence_ms: int = 800
    """A longer silence ends the sentence (DashScope `max_sentence_silence`); it counts from the
    end of speech, not from the detection of that end."""
    speech_threshold: float = 0.5
    """A probability from here on starts speech."""
    silence_threshold: float = 0.35
    """A probability below this ends speech; between the two the state stays."""
    shrinking: bool = False
    """The longer the sentence, the shorter the silence that ends it (DashScope
    `multi_threshold_mode_enabled`)."""


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """Open a sentence."""

    begin: Samples


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """Mark a pause of the open sentence, which ends here unless speech resumes in time."""

    end: Samples


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """Mark the end of a pause; the sentence goes on."""


@dataclass(frozen=True, slots=True)
class SentenceEnded:
    """Close the sentence, whose speech ended here."""

    end: Samples


Change = SpeechBegan | SpeechPaused | SpeechResumed | SentenceEnded


class _State(Enum):
    QUIET = auto()
    STARTING = auto()
    SPEAKING = auto()
    STOPPING = auto()


class Endpointer:
    """Turn one stream's probabilities into changes; positions count samples from its start."""

    def __init__(self, options: EndpointingOptions) -> None:
        self._options = options
        self._silence = max(from_ms(options.max_sentence_silence_ms), PAUSE)
        self._state = _State.QUIET
        self.position: Samples = 0
        """All samples before this one have been accepted."""
        self._begin: Samples = 0
        self._end: Samples = 0
        self._paused = False

    def accept(self, probability: float) -> list[Change]:
        """Return the changes of the next window, given the probability (0 to 1) of speech."""
        window_begin = self.position
        self.position += WINDOW
        speech = probability >= self._options.speech_threshold
        silent = probability < self._options.silence_threshold
        match self._state:
            case _State.QUIET:
                if speech:
                    self._state, self._begin = _State.STARTING, window_begin
                    return self._confirm_onset()
            case _State.STARTING:
                if silent:
                    self._state = _State.QUIET
                else:
                    return self._confirm_onset()
            case _State.SPEAKING:
                if silent:
                    self._state = _State.STOPPING
                    return self._measure_silence()
                self._end = self.position
            case _State.STOPPING:
                if not speech:
                    return self._measure_silence()
                self._state, self._end = _State.SPEAKING, self.position
                if self._paused:
                    self._paused = False
                    return [SpeechResumed()]
        return []

    def finish(self, end: Samples) -> list[Change]:
        """Return the changes at sample `end` of the stream, at most a window after `position`."""
        state, self._state = self._state, _State.QUIET
        match state:
            case _State.STARTING:  # too short to be sure, but the last word must not be lost
                return [SpeechBegan(self._speech_begin), SentenceEnded(end)]
            case _State.SPEAKING:
                return [SentenceEnded(end)]
            case _State.STOPPING:
                return [SentenceEnded(self._speech_end)]
        return []

    @property
    def required_silence(self) -> Samples:
        """Return the silence that ends the open sentence."""
        if not self._options.shrinking:
            return self._silence
        share = (self._end - self._begin - SHRINK_FROM) / (SHRINK_TO - SHRINK_FROM)
        return round(self._silence + min(1.0, max(0.0, share)) * (PAUSE - self._silence))

    @property
    def _speech_begin(self) -> Samples:
        return max(0, self._begin - ONSET_LAG)

    @property
    def _speech_end(self) -> Samples:
        return max(self._end - RELEASE_LAG, self._begin + WINDOW)

    def _confirm_onset(self) -> list[Change]:
        if self.position - self._begin < ONSET:
            return []
        self._state, self._end, self._paused = _State.SPEAKING, self.position, False
        return [SpeechBegan(self._speech_begin)]

    def _measure_silence(self) -> list[Change]:
        silence = self.position - self._end + RELEASE_LAG
        if silence >= self.required_silence:
            self._state = _State.QUIET
            return [SentenceEnded(self._speech_end)]
        if silence >= PAUSE and not self._paused:
            self._paused = True
            return [SpeechPaused(self._speech_end)]
        return []
