"""Move one task's audio through the recogniser: windows to VAD, chunks to decoding, text out."""

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.hotwords import HotwordSearch, HotwordSet
from asr_server.asr.pace import Pace
from asr_server.asr.sentence_track import SentenceTrack
from asr_server.asr.types import (
    ChunkGeometry,
    DecodeResult,
    DecodeWork,
    Kind,
    Slot,
    StreamId,
    StreamOptions,
    VadWork,
)
from asr_server.audio.endpointer import (
    ONSET,
    ONSET_LAG,
    WINDOW,
    Change,
    Endpointer,
    SentenceEnded,
    SpeechBegan,
    SpeechPaused,
    SpeechResumed,
)
from asr_server.audio.ring import Ring
from asr_server.audio.units import SAMPLE_RATE, Pcm, Samples, bounded, from_ms
from asr_server.errors import AsrError
from asr_server.recognition import EndOfStream, Hypothesis, RecognitionEvent

PRE_ROLL: Samples = from_ms(300)
"""Audio before the detected onset that belongs to the sentence: VAD detects soft initials late."""

PREVIEW_INTERVAL: Samples = from_ms(200)
"""New audio that is worth another preview once a sentence shows text."""

MAX_WINDOWS = 19
"""VAD windows of one stream in one step, about one chunk, so that bulk audio shares the step."""


class Stream:
    """Take audio in, give hypotheses out; the scheduler moves the stream along.

    The connection calls `push`, `room`, `finish`, `next` and `close`; everything else belongs to
    the scheduler, and all of it runs on the event loop. The stream is also the only queue between
    recogniser and connection: an unread interim is replaced by any newer hypothesis, finals are
    never lost, and there is at most one for every sentence.
    """

    def __init__(
        self,
        stream_id: StreamId,
        slot: Slot,
        options: StreamOptions,
        geometry: ChunkGeometry,
        previews: bool,
        on_change: Callable[["Stream"], None],
        on_close: Callable[["Stream"], None],
        clock: Callable[[], float],
        hotwords: HotwordSet | None = None,
    ) -> None:
        self.id = stream_id
        self.slot = slot
        self._options = options
        self._geometry = geometry
        self._preview_interval = 0
        if previews and options.interim and options.previews:
            self._preview_interval = PREVIEW_INTERVAL
        self._hotwords = hotwords
        self._on_change = on_change
        self._on_close = on_close
        self._clock = clock
        self._pace = Pace(clock())
        self._ring = Ring()
        self._endpointer = Endpointer(options.endpoint)
        self._sentences: deque[SentenceTrack] = deque()
        self._last_audio_end: Samples = 0
        self.finishing = False
        """Whether no more audio comes."""
        self._ended = False
        self._closed = False
        self._cut: tuple[SentenceTrack, Samples]
        """The sentence and the end of the chunk in flight."""
        self._progressed = asyncio.Event()
        self._events: deque[RecognitionEvent] = deque()
        self._error: AsrError | None = None
        self._arrived = asyncio.Event()

    # The connection's interface -----------------------------------------------------------------

    def push(self, samples: Pcm) -> None:
        """Add (n,) float32 samples, 16 kHz mono; ignored after `finish` or `close`.

        Samples outside [-1, 1] are clipped and NaN becomes 0: neither may reach the model, where
        one stream's infinities would fail the step of all.
        """
        if self.finishing or self._closed:
            return
        self._pace.push(len(samples) / SAMPLE_RATE, self._clock())
        self._ring.append(bounded(samples))
        if not self.windows_due:  # else the VAD result advances the sentence
            self._advance()
        self._on_change(self)

    def finish(self) -> None:
        """End the audio: everything pushed is recognised, then `EndOfStream` is delivered."""
        if not self._closed:
            self._pace.end(self._clock())
            self.finishing = True
            self._complete()
            self._on_change(self)

    def close(self) -> None:
        """Discard everything at once; may be called twice."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._progressed.set()

    def favour(self, hotwords: HotwordSet | None) -> None:
        """Replace the hotwords, from the next sentence on."""
        self._hotwords = hotwords

    @property
    def backlog(self) -> Samples:
        """Return how many samples wait for VAD or, where there is speech, for decoding."""
        detected = self._detected
        undecoded = sum(
            max(0, min(sentence.audio_end, detected) - sentence.position)
            for sentence in self._sentences
        )
        return self._ring.end - detected + undecoded

    async def room(self, limit: Samples) -> None:
        """Return once at most `limit` samples wait, or the stream is over."""
        while self.backlog > limit and not (self._closed or self._ended):
            self._progressed.clear()
            await self._progressed.wait()

    async def next(self) -> RecognitionEvent:
        """Return the next event; raises the `AsrError` that ended the stream."""
        while not self._events:
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()

    # The scheduler's interface: VAD -------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Return whether the audio comes in real time, not as fast as a file can be read."""
        return self._pace.live(self._clock())

    @property
    def windows_due(self) -> bool:
        """Return whether a whole window waits for VAD, or the end of the stream does."""
        waiting = self._ring.end - self._endpointer.position
        return waiting >= WINDOW or (self.finishing and not self._ended and waiting > 0)

    def cut_windows(self) -> VadWork:
        """Return the next windows; the stream's very last one is padded with zeros."""
        begin = self._endpointer.position
        waiting = self._ring.end - begin
        windows = min(waiting // WINDOW, MAX_WINDOWS)
        if windows:
            pcm = self._ring.read(begin, begin + windows * WINDOW)
        else:
            pcm = np.zeros(WINDOW, dtype=np.float32)
            pcm[:waiting] = self._ring.read(begin, self._ring.end)
        return VadWork(self.slot, begin == 0, pcm)

    def accept_probabilities(self, probabilities: NDArray[np.float32]) -> None:
        """Pass the result of the windows that `cut_windows` returned to the endpointer."""
        for probability in probabilities.tolist():
            for change in self._endpointer.accept(probability):
                self._apply(change)
            self._advance()
        self._complete()

    # The scheduler's interface: decoding --------------------------------------------------------

    @property
    def chunk_due(self) -> Kind | None:
        """Return the kind of the chunk that can be computed now."""
        return self._sentences[0].due if self._sentences else None

    @property
    def no_text_yet(self) -> bool:
        """Return whether the sentence whose chunk is due shows no text yet."""
        return bool(self._sentences) and not self._sentences[0].shown

    def cut_chunk(self) -> DecodeWork:
        """Return the chunk that is due."""
        sentence = self._sentences[0]
        kind = sentence.due
        assert kind is not None
        begin, end = sentence.span(kind)
        first = begin == sentence.audio_begin
        context = 0 if first else self._geometry.context
        self._cut = (sentence, end)
        return DecodeWork(
            slot=self.slot,
            kind=kind,
            first=first,
            pcm=self._ring.read(begin - context, end),
            prefix=sentence.prefix,
            punctuate=self._options.punctuate,
            hotwords=sentence.hotwords.words if sentence.hotwords else None,
        )

    def accept_chunk(self, work: DecodeWork, result: DecodeResult) -> None:
        """Pass the result of the chunk that `cut_chunk` returned to its sentence."""
        sentence, end = self._cut
        interim = sentence.accept(work.kind, end, result)
        if (hypothesis := sentence.split() or interim) is not None:
            self._deliver(hypothesis)
        self._complete()

    def fail(self, error: AsrError) -> None:
        """End the stream with an error, after the events that are unread."""
        self._ended = True
        self._error = self._error or error
        self._arrived.set()
        self._progressed.set()

    # Internals ----------------------------------------------------------------------------------

    @property
    def _detected(self) -> Samples:
        """Return the end of the audio that has passed the VAD."""
        return min(self._endpointer.position, self._ring.end)

    def _advance(self) -> None:
        # A pause is detected with the audio that it leaves, never before its end: so the window
        # that comes next belongs to the sentence, whatever its probability.
        if self._sentences and not self._sentences[-1].ended:
            self._sentences[-1].advance(min(self._detected + WINDOW, self._ring.end))

    def _apply(self, change: Change) -> None:
        match change:
            case SpeechBegan(begin):
                audio_begin = max(begin - PRE_ROLL, self._last_audio_end, 0)
                self._sentences.append(
                    SentenceTrack(
                        audio_begin,
                        max(begin, audio_begin),
                        self._geometry,
                        self._options,
                        self._preview_interval,
                        HotwordSearch(self._hotwords) if self._hotwords else None,
                    )
                )
            case SpeechPaused(end):
                self._sentences[-1].pause(end, self._detected)
            case SpeechResumed():
                self._sentences[-1].resume()
            case SentenceEnded(end):
                self._sentences[-1].end(min(end, self._ring.end), self._detected)
                self._last_audio_end = self._sentences[-1].audio_end

    def _complete(self) -> None:
        """Deliver finals, release audio, and end the stream when everything is recognised."""
        if self.finishing and not self._ended and self._endpointer.position >= self._ring.end:
            for change in self._endpointer.finish(self._ring.end):
                self._apply(change)
        while self._sentences and self._sentences[0].finished:
            for final in self._sentences.popleft().finals():
                self._deliver(final)
        self._ring.release(self._oldest_needed)
        if self.finishing and not self._sentences and not self.windows_due and not self._ended:
            self._ended = True
            self._deliver(EndOfStream())
        self._progressed.set()

    @property
    def _oldest_needed(self) -> Samples:
        if self._sentences:
            return max(0, min(self._detected, self._sentences[0].position - self._geometry.context))
        return max(0, self._detected - ONSET - ONSET_LAG - PRE_ROLL)

    def _deliver(self, event: RecognitionEvent) -> None:
        newest = self._events[-1] if self._events else None
        if isinstance(newest, Hypothesis) and not newest.final:
            self._events.pop()
        self._events.append(event)
        self._arrived.set()
