"""Track one sentence: which of its audio is committed and what to compute next. Pure."""

from dataclasses import dataclass, field, replace

from asr_server.asr.hotwords import HotwordSearch, HotwordSet
from asr_server.asr.splitting import forced_cut, semantic_cut
from asr_server.asr.types import ChunkGeometry, DecodeResult, Kind, StreamOptions
from asr_server.audio.units import Samples, from_ms
from asr_server.recognition import Hypothesis
from asr_server.text.punctuation import inside_number
from asr_server.text.tokens import Token

HANGOVER: Samples = from_ms(320)
"""Audio after the last speech that still belongs to the sentence: soft endings and releases. All of
it has arrived when the endpointer reports a pause."""

MAX_TOKEN: Samples = from_ms(400)
"""Longest duration of a token: one fired after a pause does not span the pause."""

MAX_RELEASE: Samples = from_ms(48)
"""Longest speech after the last token fired; what the VAD detects beyond is noise."""

FIRST_PREVIEW_INTERVAL, PREVIEW_INTERVAL = from_ms(100), from_ms(200)
"""New audio that is worth a preview while the sentence shows no text, and once it shows some."""

MIN_CONFIDENCE, MIN_FIRST_CONFIDENCE = 0.6, 0.3
UNSTABLE_TAIL: Samples = from_ms(160)
"""A preview's last tokens are held back while their confidence is below the minimum and they fired
within this distance of the end of the audio: half of the shown characters that were revised were
such tokens. A sentence's first text has the lower minimum, because clients wait for it
(docs/adr/0006-stable-interims.md)."""


@dataclass(frozen=True, slots=True)
class _Speculation:
    """Hold the sentence's tokens under the assumption that it ends at `audio_end`."""

    audio_end: Samples
    tokens: tuple[Token, ...]


@dataclass(slots=True)
class SentenceTrack:
    """Follow the progress through the audio `[audio_begin, audio_end)` of one sentence.

    While speech goes on, `audio_end` is how far the sentence reaches for certain, up to one window
    beyond what has passed the VAD; at a pause `audio_end` stays at the end of speech plus the
    hangover, and moves on if speech resumes. So the text of a final depends on the audio alone,
    never on when a step ran.
    """

    audio_begin: Samples
    speech_begin: Samples
    geometry: ChunkGeometry
    options: StreamOptions
    preview_interval: Samples
    """New audio worth another preview once text is shown; 0 turns previews off."""
    hotwords: HotwordSearch | None = None
    position: Samples = field(init=False)
    """Everything before this sample is committed."""
    audio_end: Samples = field(init=False)
    speech_end: Samples | None = None
    """Where speech paused or ended, or None while it goes on."""
    ended: bool = False
    _tokens: list[Token] = field(default_factory=list)
    """Committed tokens."""
    _previewed: Samples = field(init=False)
    """End of the audio of the last preview."""
    _speculation: _Speculation | None = None
    shown: int = 0
    """Tokens of the open sentence in interims; a sentence that showed any gets a final."""
    cut: bool = False
    """Whether a part of it has been closed already."""

    def __post_init__(self) -> None:
        self.position = self.audio_end = self._previewed = self.audio_begin

    # Endpointing ------------------------------------------------------------------------------

    def advance(self, position: Samples) -> None:
        """Extend the sentence up to `position` while speech goes on."""
        if self.speech_end is None:
            self.audio_end = max(self.audio_end, position)

    def pause(self, speech_end: Samples, detected: Samples) -> None:
        """Stop at a silence; later audio is not decoded unless speech resumes."""
        self.speech_end = speech_end
        self.audio_end = max(self.position, min(speech_end + HANGOVER, detected))

    def resume(self) -> None:
        """Continue after a pause."""
        self.speech_end = None

    def end(self, speech_end: Samples, detected: Samples) -> None:
        """End the sentence."""
        if self.speech_end is None:
            self.pause(speech_end, detected)
        self.ended = True

    # What to compute --------------------------------------------------------------------------

    @property
    def due(self) -> Kind | None:
        """Return the kind of chunk that can be computed now, the most useful one."""
        if self.audio_end - self.position >= self.geometry.stride:
            return Kind.COMMIT
        if self.speech_end is not None:
            if self._speculated:
                return None
            return Kind.FLUSH if self.ended else Kind.SPECULATE
        if self.preview_interval:
            first = min(self.preview_interval, FIRST_PREVIEW_INTERVAL)
            interval = self.preview_interval if self.shown else first
            if self.audio_end - self._previewed >= interval:
                return Kind.PREVIEW
        return None

    @property
    def finished(self) -> bool:
        """Return whether the final hypothesis is known."""
        return self.ended and self._speculated

    @property
    def _speculated(self) -> bool:
        """Return whether all audio of the sentence so far has been decoded to its end."""
        return self._speculation is not None and self._speculation.audio_end == self.audio_end

    def span(self, kind: Kind) -> tuple[Samples, Samples]:
        """Return the new audio of the next chunk, `[begin, end)`."""
        if kind is Kind.COMMIT:
            return self.position, self.position + self.geometry.stride
        return self.position, self.audio_end

    @property
    def prefix(self) -> tuple[str, ...]:
        """Return the pieces of the committed tokens."""
        return tuple(token.piece for token in self._tokens)

    @property
    def words(self) -> HotwordSet | None:
        """Return the hotwords to favour."""
        return self.hotwords.words if self.hotwords is not None else None

    # Results ----------------------------------------------------------------------------------

    def accept(self, kind: Kind, end: Samples, result: DecodeResult) -> Hypothesis | None:
        """Take the result of a chunk that ended at sample `end`; return an interim if text is new.

        The interim of a COMMIT is left out where previews have shown more.
        """
        tokens = with_marks((*self._tokens, *self._timed(result, end)), result.marks)
        if self.hotwords is not None and result.evidence is not None:
            self.hotwords.accept(result.evidence, commit=kind is Kind.COMMIT)
        text = self._with_hotwords(tokens)
        if kind is Kind.COMMIT:
            self._tokens = list(tokens)
            self.position = end
            self._speculation = None
            if len(tokens) <= self.shown:
                return None
        elif kind.final:
            self._speculation = _Speculation(end, text)
        else:
            self._previewed = end
            text = text[: _count_stable(tokens, end, first=not self.shown)]
        if not text or self.finished or not self.options.interim:
            return None
        self.shown = len(text)
        return Hypothesis(self.speech_begin, None, text, paused=kind.final)

    def split(self) -> Hypothesis | None:
        """Close the text committed so far if it is complete or too long; the rest stays open."""
        count = semantic_cut(self._tokens) if self.options.semantic else None
        max_sentence = from_ms(self.options.max_sentence_ms)
        count = count or forced_cut(self._tokens, self.speech_begin, max_sentence)
        if count is None:
            return None
        self.cut = True
        closed, self._tokens = self._tokens[:count], self._tokens[count:]
        final = Hypothesis(self.speech_begin, closed[-1].end, self._with_hotwords(tuple(closed)))
        if self.hotwords is not None:
            self.hotwords.cut(count)
        if (rest := self._speculation) is not None:
            self._speculation = replace(rest, tokens=rest.tokens[count:])
        self.speech_begin = self._tokens[0].begin
        self.shown = 0
        return final

    def finals(self, corrected: tuple[Token, ...] = ()) -> list[Hypothesis]:
        """Return the final hypotheses, of other tokens if there are any; only once `finished`.

        There are several where punctuation may end sentences, and none where nothing was decoded
        and nothing shown or announced: the VAD took noise for speech.
        """
        assert self._speculation is not None
        assert self.speech_end is not None
        tokens, finals = corrected or self._speculation.tokens, []
        begin, shown = self.speech_begin, self.shown
        while self.options.semantic and (count := semantic_cut(tokens, settled=1)) is not None:
            finals.append(Hypothesis(begin, tokens[count - 1].end, tokens[:count]))
            tokens, begin, shown = tokens[count:], tokens[count].begin, 0
        end = min(self.speech_end, tokens[-1].end + MAX_RELEASE) if tokens else self.speech_end
        if tokens or shown or self.options.announce_speech:
            finals.append(Hypothesis(begin, end, tokens))
        return finals

    def _with_hotwords(self, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        return tokens if self.hotwords is None else self.hotwords.rewrite(tokens)

    def _timed(self, result: DecodeResult, audio_end: Samples) -> list[Token]:
        """Give tokens their times: from the end of the token before, or a syllable back, to where
        CIF fired."""
        tokens: list[Token] = []
        previous = self._tokens[-1].end if self._tokens else self.speech_begin
        for token in result.tokens:
            fired_at = min(self.position + round(token.fired_at), audio_end)
            end = max(previous + 1, fired_at)
            begin = max(previous, end - MAX_TOKEN)
            tokens.append(Token(token.piece, begin, end, token.confidence))
            previous = end
        return tokens


def _count_stable(tokens: tuple[Token, ...], audio_end: Samples, first: bool) -> int:
    """Return how many tokens of a preview can be shown, with audio only up to `audio_end`."""
    minimum = MIN_FIRST_CONFIDENCE if first else MIN_CONFIDENCE
    count = len(tokens)
    while count:
        last = tokens[count - 1]
        if last.confidence >= minimum or last.end + UNSTABLE_TAIL <= audio_end:
            break
        count -= 1
    return count


def with_marks(tokens: tuple[Token, ...], marks: tuple[str, ...]) -> tuple[Token, ...]:
    """Return the tokens with their marks; a number spoken without a pause has none inside."""
    if not marks:
        return tokens
    inside = (*map(inside_number, tokens, tokens[1:]), False)
    return tuple(  # not `replace`, which takes four times as long
        Token(token.piece, token.begin, token.end, token.confidence, "" if number else mark)
        for token, mark, number in zip(tokens, marks, inside, strict=True)
    )
