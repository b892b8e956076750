"""Speech probabilities to sentences: where speech begins and where a sentence ends.

Pure: one probability per window goes in, changes come out. Hysteresis with four states, as in
Silero's `VADIterator` and pipecat's `VADAnalyzer`; the sentence rule is DashScope's
(`max_sentence_silence`, protocol page "run-task").
"""

from dataclasses import dataclass
from enum import Enum, auto

from asr_server.audio.units import Samples, from_ms

WINDOW: Samples = 512
"""Samples judged by one probability: 32 ms, the only window Silero VAD knows at 16 kHz."""

ONSET_LAG: Samples = from_ms(48)
RELEASE_LAG: Samples = from_ms(128)
"""How late Silero sees speech begin and end: the medians on recordings of known times, whose ends
agree with the sound's energy to 10 ms (docs/adr/0006-stable-interims.md)."""

LONG_BEGIN, LONG_END = from_ms(10_000), from_ms(30_000)
"""Between these lengths of a sentence a shrinking silence falls to the length of a pause."""


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How one task wants its sentences cut."""

    max_sentence_silence_ms: int = 800
    """A silence longer than this ends the sentence (DashScope `max_sentence_silence`); it counts
    from where speech ended, not from where that was noticed."""
    speech_threshold: float = 0.5
    """A probability from here on starts speech."""
    silence_threshold: float = 0.35
    """A probability below this ends speech; between the two, what was goes on."""
    onset_ms: int = 80
    """Speech shorter than this is a click."""
    pause_ms: int = 320
    """A silence of this length is a pause: the sentence may end here. No shorter one ends it,
    because what is left of it after the lag may as well be a soft syllable."""
    shrinking: bool = False
    """The longer the sentence, the shorter the silence that ends it (DashScope
    `multi_threshold_mode_enabled`)."""


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """A sentence opens."""

    begin: Samples


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The open sentence fell silent; it ends here unless speech resumes in time."""

    end: Samples


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The pause is over and the sentence goes on."""


@dataclass(frozen=True, slots=True)
class SentenceEnded:
    """The sentence is over; its speech ended here."""

    end: Samples


Change = SpeechBegan | SpeechPaused | SpeechResumed | SentenceEnded


class _State(Enum):
    QUIET = auto()
    STARTING = auto()
    SPEAKING = auto()
    STOPPING = auto()


class Endpointer:
    """Follows one stream; positions count samples from its start."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._onset = from_ms(options.onset_ms)
        self._pause = from_ms(options.pause_ms)
        self._silence = max(from_ms(options.max_sentence_silence_ms), self._pause)
        self._state = _State.QUIET
        self._position: Samples = 0
        self._begin: Samples = 0
        self._end: Samples = 0
        self._paused = False

    @property
    def position(self) -> Samples:
        """Everything before this sample has been judged."""
        return self._position

    def accept(self, probability: float) -> list[Change]:
        """Judge the next window; `probability` that it is speech, 0 to 1."""
        window_begin = self._position
        self._position += WINDOW
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
                self._end = self._position
            case _State.STOPPING:
                if not speech:
                    return self._measure_silence()
                self._state, self._end = _State.SPEAKING, self._position
                if self._paused:
                    self._paused = False
                    return [SpeechResumed()]
        return []

    def finish(self, end: Samples) -> list[Change]:
        """The stream ends at sample `end`, at most one window after the last judged one."""
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
    def _speech_begin(self) -> Samples:
        return max(0, self._begin - ONSET_LAG)

    @property
    def _speech_end(self) -> Samples:
        return max(self._end - RELEASE_LAG, self._begin + WINDOW)

    @property
    def _enough_silence(self) -> Samples:
        """The silence that ends the open sentence."""
        if not self._options.shrinking:
            return self._silence
        over = (self._end - self._begin - LONG_BEGIN) / (LONG_END - LONG_BEGIN)
        share = min(1.0, max(0.0, over))
        return round(self._silence + share * (self._pause - self._silence))

    def _confirm_onset(self) -> list[Change]:
        if self._position - self._begin < self._onset:
            return []
        self._state, self._end, self._paused = _State.SPEAKING, self._position, False
        return [SpeechBegan(self._speech_begin)]

    def _measure_silence(self) -> list[Change]:
        silence = self._position - self._end + RELEASE_LAG
        if silence >= self._enough_silence:
            self._state = _State.QUIET
            return [SentenceEnded(self._speech_end)]
        if silence >= self._pause and not self._paused:
            self._paused = True
            return [SpeechPaused(self._speech_end)]
        return []
