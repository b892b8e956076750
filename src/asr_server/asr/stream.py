"""One task's audio on its way through the recogniser."""

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.collector import Collector
from asr_server.asr.hotwords import HotwordSearch, HotwordSet
from asr_server.asr.sentence_track import SentenceTrack
from asr_server.asr.types import (
    ChunkGeometry,
    DecodeResult,
    DecodeWork,
    Kind,
    Pcm,
    StreamId,
    StreamOptions,
    VadWork,
)
from asr_server.audio.endpoint import (
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
from asr_server.audio.units import SAMPLE_RATE, Samples, from_ms
from asr_server.errors import AsrError
from asr_server.recognition import EndOfStream, Hypothesis, RecognitionEvent

PRE_ROLL: Samples = from_ms(300)
"""Audio before the detected onset that belongs to the sentence: soft initials are judged late."""

LIVE_PACE = 1.25
"""Seconds of audio in a second that may still come from a microphone, whose clock is its own."""
LIVE_LEAD_S = 1.0
"""How far ahead of that pace live audio may be: clients send what they recorded while they
connected."""

MAX_JUDGED_AT_ONCE = 19
"""Windows of one stream in one step, about one chunk, so that an upload shares the step."""


class Stream:
    """Audio goes in, hypotheses come out; the engine moves it along.

    The connection calls `push`, `room`, `finish`, `next` and `close`; everything else is the
    engine's, and all of it runs on the event loop.
    """

    def __init__(
        self,
        stream_id: StreamId,
        options: StreamOptions,
        geometry: ChunkGeometry,
        preview_interval: Samples,
        on_change: Callable[["Stream"], None],
        on_close: Callable[["Stream"], None],
        clock: Callable[[], float],
        hotwords: HotwordSet | None = None,
    ) -> None:
        self.id = stream_id
        self._options = options
        self._geometry = geometry
        self._preview_interval = preview_interval if options.interim else 0
        self._hotwords = hotwords
        self._on_change = on_change
        self._on_close = on_close
        self._clock = clock
        self._lead_s = 0.0
        """How far the audio was ahead of `LIVE_PACE` when its last samples came."""
        self._pushed_at = clock()
        self._ring = Ring()
        self._endpointer = Endpointer(options.endpoint)
        self._sentences: deque[SentenceTrack] = deque()
        self._last_audio_end: Samples = 0
        self._finishing = False
        self._drained = False
        self._closed = False
        self._cut: tuple[SentenceTrack, Samples]
        self._collector = Collector()
        self._moved = asyncio.Event()

    # The connection's face ----------------------------------------------------------------------

    def push(self, samples: Pcm) -> None:
        """Add (n,) float32 samples, 16 kHz mono in [-1, 1]; ignored after `finish` or `close`."""
        if self._finishing or self._closed:
            return
        self._lead_s = self._lead_now_s + len(samples) / SAMPLE_RATE
        self._pushed_at = self._clock()
        self._ring.append(samples)
        if not self.judge_due:  # else it comes with what is judged
            self._advance()
        self._on_change(self)

    def finish(self) -> None:
        """No more audio comes: everything pushed is recognised, then `EndOfStream` is delivered."""
        if not self._closed:
            self._lead_s = self._lead_now_s
            self._finishing = True
            self._complete()
            self._on_change(self)

    def close(self) -> None:
        """Forget everything at once; may be called twice."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._moved.set()

    @property
    def backlog(self) -> Samples:
        """Samples pushed that wait to be judged or, where there is speech, to be recognised."""
        judged = self._judged
        unheard = sum(
            max(0, min(sentence.audio_end, judged) - sentence.position)
            for sentence in self._sentences
        )
        return self._ring.end - judged + unheard

    @property
    def live(self) -> bool:
        """Whether the audio comes as it is spoken, and not as quickly as it is read from a file."""
        return (self._lead_s if self._finishing else self._lead_now_s) < LIVE_LEAD_S

    async def room(self, limit: Samples) -> None:
        """Return once at most `limit` samples wait, or the stream is over."""
        while self.backlog > limit and not (self._closed or self._drained):
            self._moved.clear()
            await self._moved.wait()

    async def next(self) -> RecognitionEvent:
        """The next event; raises the `AsrError` that ended the stream."""
        return await self._collector.get()

    # The engine's face: the VAD -----------------------------------------------------------------

    @property
    def judge_due(self) -> bool:
        """Whether a whole window waits to be judged, or the end of the stream does."""
        waiting = self._ring.end - self._endpointer.position
        return waiting >= WINDOW or (self._finishing and not self._drained and waiting > 0)

    def cut_judge(self) -> VadWork:
        """The next windows; the stream's very last one is filled up with zeros."""
        begin = self._endpointer.position
        waiting = self._ring.end - begin
        windows = min(waiting // WINDOW, MAX_JUDGED_AT_ONCE)
        if windows:
            return VadWork(self.id, self._ring.read(begin, begin + windows * WINDOW))
        last = np.zeros(WINDOW, dtype=np.float32)
        last[:waiting] = self._ring.read(begin, self._ring.end)
        return VadWork(self.id, last)

    def accept_probabilities(self, probabilities: NDArray[np.float32]) -> None:
        """Let the endpointer see the windows that `cut_judge` gave."""
        for probability in probabilities:
            for change in self._endpointer.accept(float(probability)):
                self._apply(change)
            self._advance()
        self._complete()

    # The engine's face: chunks ------------------------------------------------------------------

    @property
    def chunk_due(self) -> Kind | None:
        """The chunk that can be computed now."""
        return self._sentences[0].due if self._sentences else None

    def cut_chunk(self) -> DecodeWork:
        """The chunk that is due."""
        sentence = self._sentences[0]
        kind = sentence.due
        assert kind is not None
        begin, end = sentence.span(kind)
        first = begin == sentence.audio_begin
        context = 0 if first else self._geometry.context
        self._cut = (sentence, end)
        return DecodeWork(
            stream=self.id,
            kind=kind,
            first=first,
            pcm=self._ring.read(begin - context, end),
            prefix=sentence.prefix,
            punctuate=self._options.punctuate,
            hotwords=self._hotwords,
        )

    def accept_chunk(self, work: DecodeWork, heard: DecodeResult) -> None:
        """Take in what the device heard in the chunk that `cut_chunk` gave."""
        sentence, end = self._cut
        interim = sentence.accept(work.kind, end, heard)
        closed = sentence.split()
        if closed is not None:
            self._deliver(closed)
        elif interim is not None:
            self._deliver(interim)
        self._complete()

    def fail(self, error: AsrError) -> None:
        """End the stream with an error."""
        self._drained = True
        self._collector.fail(error)
        self._moved.set()

    @property
    def awaited(self) -> bool:
        """Whether the sentence whose chunk is due shows no text yet."""
        return bool(self._sentences) and not self._sentences[0].shown

    @property
    def finishing(self) -> bool:
        """Whether no more audio comes."""
        return self._finishing

    # Inside -------------------------------------------------------------------------------------

    @property
    def _lead_now_s(self) -> float:
        return max(0.0, self._lead_s - LIVE_PACE * (self._clock() - self._pushed_at))

    @property
    def _judged(self) -> Samples:
        return min(self._endpointer.position, self._ring.end)

    def _advance(self) -> None:
        # A pause is noticed with what it leaves of the audio, never before its end: so the window
        # that is judged next is the sentence's, whatever comes of it.
        if self._sentences and not self._sentences[-1].ended:
            self._sentences[-1].advance(min(self._judged + WINDOW, self._ring.end))

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
                self._sentences[-1].pause(end, self._judged)
            case SpeechResumed():
                self._sentences[-1].resume()
            case SentenceEnded(end):
                self._sentences[-1].end(min(end, self._ring.end), self._judged)
                self._last_audio_end = self._sentences[-1].audio_end

    def _complete(self) -> None:
        """Deliver what is final, let go of audio, and notice the end."""
        if self._finishing and not self._drained and self._endpointer.position >= self._ring.end:
            for change in self._endpointer.finish(self._ring.end):
                self._apply(change)
        while self._sentences and self._sentences[0].finished:
            for final in self._sentences.popleft().finals():
                self._deliver(final)
        self._ring.release(self._oldest_needed)
        if self._finishing and not self._sentences and not self.judge_due and not self._drained:
            self._drained = True
            self._collector.put(EndOfStream())
        self._moved.set()

    @property
    def _oldest_needed(self) -> Samples:
        if self._sentences:
            return max(0, min(self._judged, self._sentences[0].position - self._geometry.context))
        unconfirmed = from_ms(self._options.endpoint.onset_ms)
        return max(0, self._judged - unconfirmed - ONSET_LAG - PRE_ROLL)

    def _deliver(self, hypothesis: Hypothesis) -> None:
        if not self._closed:
            self._collector.put(hypothesis)
