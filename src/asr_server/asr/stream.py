"""Move one task's audio through the recogniser: windows to VAD, chunks to decoding, text out."""

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asr_server.asr.hotwords import HotwordSearch, HotwordSet
from asr_server.asr.outbox import Outbox
from asr_server.asr.pace import Pace
from asr_server.asr.second_pass import SecondPass, SecondPassOptions
from asr_server.asr.sentence_track import PREVIEW_INTERVAL, SentenceTrack
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
from asr_server.recognition import EndOfStream, RecognitionEvent, SpeechStarted

MAX_WINDOWS = 19
"""VAD windows of one stream in one step, about one chunk, so that bulk audio shares the step."""


class Stream:
    """Take audio in, give hypotheses out; the scheduler moves the stream along.

    The connection calls `push`, `room`, `finish`, `next` and `close`; everything else belongs to
    the scheduler, and all of it runs on the event loop. The stream's outbox is the only queue
    between recogniser and connection.
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
        second_pass: SecondPassOptions | None = None,
    ) -> None:
        self.id = stream_id
        self.slot = slot
        self._options = options
        self._geometry = geometry
        self._pre_roll = from_ms(options.prefix_padding_ms)
        self._preview_interval = PREVIEW_INTERVAL if previews and options.interim else 0
        self._hotwords = hotwords
        self._on_change = on_change
        self._on_close = on_close
        self._clock = clock
        self._pace = Pace(clock())
        self._ring = Ring()
        self._endpointer = Endpointer(options.endpoint)
        self._sentences: deque[SentenceTrack] = deque()
        """The open sentence, and those before it whose final is not delivered yet."""
        self.second_pass = SecondPass(stream_id, second_pass, self._ring, options.punctuate)
        self._last_audio_end: Samples = 0
        self.finishing = False
        """Whether no more audio comes."""
        self._finished_at = 0.0
        self._ended = False
        self._closed = False
        self._cut: tuple[SentenceTrack, Samples]
        """The sentence and the end of the chunk in flight."""
        self._progressed = asyncio.Event()
        self._outbox = Outbox()

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
            self._finished_at = self._clock()
            self._pace.end(self._finished_at)
            self.finishing = True
            self.complete()
            self._on_change(self)

    def close(self) -> None:
        """Discard everything at once; may be called twice."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._progressed.set()

    def favour(self, hotwords: HotwordSet | None) -> None:
        """Replace the hotwords, from the next sentence on; whether there is a second pass stays."""
        self._hotwords = hotwords

    @property
    def backlog(self) -> Samples:
        """Return how many samples wait for VAD or, where there is speech, for a decoder."""
        seen = self._detected
        undecoded = sum(max(0, min(s.audio_end, seen) - s.position) for s in self._sentences)
        uncorrected = 0 if self.live else self.second_pass.backlog
        return self._ring.end - seen + undecoded + uncorrected

    async def room(self, limit: Samples) -> None:
        """Return once at most `limit` samples wait, or the stream is over."""
        while self.backlog > limit and not (self._closed or self._ended):
            self._progressed.clear()
            await self._progressed.wait()

    async def next(self) -> RecognitionEvent:
        """Return the next event; raises the `AsrError` that ended the stream."""
        return await self._outbox.next()

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
        windows = min(max(1, (self._ring.end - begin) // WINDOW), MAX_WINDOWS)
        end = begin + windows * WINDOW
        return VadWork(self.slot, begin == 0, self._ring.read_padded(begin, end))

    def accept_probabilities(self, probabilities: NDArray[np.float32]) -> None:
        """Pass the result of the windows that `cut_windows` returned to the endpointer."""
        for probability in probabilities.tolist():
            for change in self._endpointer.accept(probability):
                self._apply(change)
            self._advance()
        self.complete()

    # The scheduler's interface: decoding --------------------------------------------------------

    @property
    def chunk_due(self) -> Kind | None:
        """Return the kind of the chunk that can be computed now."""
        return sentence.due if (sentence := self._undecoded) else None

    @property
    def no_text_yet(self) -> bool:
        """Return whether the sentence whose chunk is due shows no text yet."""
        return (sentence := self._undecoded) is not None and not sentence.shown

    def cut_chunk(self) -> DecodeWork:
        """Return the chunk that is due."""
        sentence, kind = self._undecoded, self.chunk_due
        assert sentence
        assert kind
        begin, end = sentence.span(kind)
        self._cut = (sentence, end)
        first = begin == sentence.audio_begin
        pcm = self._ring.read(begin if first else begin - self._geometry.context, end)
        asked = self._options.punctuate
        return DecodeWork(self.slot, kind, first, pcm, sentence.prefix, asked, sentence.words)

    def accept_chunk(self, work: DecodeWork, result: DecodeResult) -> None:
        """Pass the result of the chunk that `cut_chunk` returned to its sentence."""
        sentence, end = self._cut
        interim = sentence.accept(work.kind, end, result)
        if (hypothesis := sentence.split() or interim) is not None:
            if hypothesis.final or self.live:  # text waits for no earlier sentence's second pass
                self.second_pass.give_up("late", before=sentence.audio_begin)
                self._deliver_finals(before=sentence)
            if sentence is self._sentences[0]:  # else an interim of bulk audio: another follows
                self._outbox.put(hypothesis)
        self.complete()

    def fail(self, error: AsrError) -> None:
        """End the stream with an error, after the events that are unread."""
        self._ended = True
        self._outbox.fail(error)
        self._progressed.set()

    @property
    def final_waits_until(self) -> float | None:
        """Return until when the next final waits for its second pass, or None if none does."""
        first = self._sentences[0] if self._sentences else None
        return self.second_pass.waits_until(first) if first and first.finished else None

    def complete(self) -> None:
        """Deliver finals, release audio, and end the stream when everything is recognised."""
        if self.finishing and not self._ended and self._endpointer.position >= self._ring.end:
            for change in self._endpointer.finish(self._ring.end):
                self._apply(change)
        self._deliver_finals()
        self._ring.release(self._oldest_needed)
        if self.finishing and not self._sentences and not self.windows_due and not self._ended:
            self._ended = True
            self._outbox.put(EndOfStream())
        self._progressed.set()

    # Internals ----------------------------------------------------------------------------------

    @property
    def _detected(self) -> Samples:
        """Return the end of the audio that has passed the VAD."""
        return min(self._endpointer.position, self._ring.end)

    @property
    def _undecoded(self) -> SentenceTrack | None:
        """Return the first sentence that is not decoded to its end."""
        return next((one for one in self._sentences if not one.finished), None)

    def _deliver_finals(self, before: SentenceTrack | None = None) -> None:
        while self._sentences and (first := self._sentences[0]) is not before and first.finished:
            if (self.final_waits_until or 0.0) > self._clock():
                break
            for final in self.second_pass.finals(self._sentences.popleft()):
                self._outbox.put(final)

    def _advance(self) -> None:
        # A pause is detected with the audio that it leaves, never before its end: so the window
        # that comes next belongs to the sentence, whatever its probability.
        if self._sentences and not self._sentences[-1].ended:
            self._sentences[-1].advance(min(self._detected + WINDOW, self._ring.end))
            self._update_second_pass()

    def _apply(self, change: Change) -> None:
        match change:
            case SpeechBegan(begin):
                audio_begin = max(begin - self._pre_roll, self._last_audio_end, 0)
                if self._options.announce_speech:
                    self._outbox.put(SpeechStarted(max(begin, audio_begin)))
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
                self.second_pass.resume(self._sentences[-1])
            case SentenceEnded(end):
                self._sentences[-1].end(min(end, self._ring.end), self._detected)
                self._last_audio_end = self._sentences[-1].audio_end
                self._update_second_pass()

    def _update_second_pass(self) -> None:
        now = self._finished_at if self.finishing else self._clock()
        silence = self._endpointer.required_silence
        self.second_pass.update(self._sentences[-1], self._detected, silence, now, self.live)

    @property
    def _oldest_needed(self) -> Samples:
        if (sentence := self._undecoded) is not None:
            oldest = min(self._detected, sentence.position - self._geometry.context)
        else:
            oldest = self._detected - ONSET - ONSET_LAG - self._pre_roll
        return max(0, min([oldest, *map(self.second_pass.needed_from, self._sentences)]))
