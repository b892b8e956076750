"""One sentence being recognised: which of its audio is committed and what to compute next. Pure."""

from dataclasses import dataclass, field

from asr_server.asr.hotwords import HotwordSearch
from asr_server.asr.splitting import forced_cut, semantic_cut
from asr_server.asr.types import ChunkGeometry, DecodeResult, Kind, StreamOptions
from asr_server.audio.units import Samples, from_ms
from asr_server.recognition import Hypothesis
from asr_server.text.tokens import Token

HANGOVER: Samples = from_ms(320)
"""Audio after the last speech that still belongs to the sentence: soft endings and releases. It is
all there when a pause is noticed."""

LONGEST_TOKEN: Samples = from_ms(400)
"""A token fired after a pause did not last all through it."""

RING_OUT: Samples = from_ms(48)
"""Sound goes on after its last token fired, but no longer than this unless it is noise."""

FIRST_PREVIEWS: Samples = from_ms(100)
"""New audio worth a preview while a sentence shows no text: the first word is waited for."""

SURE, SURE_OF_THE_FIRST = 0.6, 0.3
UNSURE_WITHIN: Samples = from_ms(160)
"""A preview's last tokens are kept back while they are less likely than this and fired so near the
end of the audio that what follows may change them: half of the shown characters that were revised
were these. A sentence's first text is waited for, so it need not be as likely
(docs/adr/0006-stable-interims.md)."""


@dataclass(slots=True)
class _Speculation:
    audio_end: Samples
    tokens: tuple[Token, ...]


@dataclass(slots=True)
class SentenceTrack:
    """Progress through the audio `[audio_begin, audio_end)` of one sentence.

    While speech goes on, `audio_end` is how far the sentence reaches for certain, which is up to a
    window further than the stream has been judged; at a pause it stands still at the end of the
    speech plus the hangover, and moves on if speech resumes. So the text of a final depends on the
    audio alone, never on when a step ran.
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
    _previewed: Samples = field(init=False)
    _speculation: _Speculation | None = None
    shown: int = 0
    """How many tokens of the open sentence were shown; who saw any waits for its end."""

    def __post_init__(self) -> None:
        self.position = self.audio_end = self._previewed = self.audio_begin

    # What the endpointer says -----------------------------------------------------------------

    def advance(self, position: Samples) -> None:
        """The sentence reaches up to `position`, whatever is judged next."""
        if self.speech_end is None:
            self.audio_end = max(self.audio_end, position)

    def pause(self, speech_end: Samples, judged: Samples) -> None:
        """Speech fell silent; what comes later is not fed unless it resumes."""
        self.speech_end = speech_end
        self.audio_end = max(self.position, min(speech_end + HANGOVER, judged))

    def resume(self) -> None:
        """Speech goes on after a pause."""
        self.speech_end = None

    def end(self, speech_end: Samples, judged: Samples) -> None:
        """The sentence is over."""
        if self.speech_end is None:
            self.pause(speech_end, judged)
        self.ended = True

    # What to compute --------------------------------------------------------------------------

    @property
    def due(self) -> Kind | None:
        """The work that can be done now, most useful first."""
        available = self.audio_end - self.position
        if available >= self.geometry.stride:
            return Kind.COMMIT
        if self.speech_end is not None:
            if self._speculation is not None and self._speculation.audio_end == self.audio_end:
                return None
            return Kind.FLUSH if self.ended else Kind.SPECULATE
        if self.preview_interval and self.audio_end - self._previewed >= self._worth_a_preview:
            return Kind.PREVIEW
        return None

    @property
    def _worth_a_preview(self) -> Samples:
        if self.shown:
            return self.preview_interval
        return min(self.preview_interval, FIRST_PREVIEWS)

    @property
    def finished(self) -> bool:
        """Whether the final hypothesis is known."""
        return (
            self.ended
            and self._speculation is not None
            and self._speculation.audio_end == self.audio_end
        )

    def span(self, kind: Kind) -> tuple[Samples, Samples]:
        """The new audio of the next chunk, `[begin, end)`."""
        if kind is Kind.COMMIT:
            return self.position, self.position + self.geometry.stride
        return self.position, self.audio_end

    @property
    def prefix(self) -> tuple[str, ...]:
        """The committed tokens' pieces."""
        return tuple(token.piece for token in self._tokens)

    # What came of it --------------------------------------------------------------------------

    def accept(self, kind: Kind, end: Samples, heard: DecodeResult) -> Hypothesis | None:
        """Take in a chunk that ended at sample `end`; an interim hypothesis if there is news."""
        new = self._place(heard, end)
        tokens = _marked((*self._tokens, *new), heard.marks)
        if self.hotwords is not None and heard.evidence is not None:
            self.hotwords.hear(heard.evidence, commit=kind is Kind.COMMIT)
        said = self._said(tokens)
        if kind is Kind.COMMIT:
            self._tokens = list(tokens)
            self.position = end
            self._speculation = None
            if len(tokens) <= self.shown:  # it decodes less far than the previews before it
                return None
        elif kind.final:
            self._speculation = _Speculation(end, said)
        else:
            self._previewed = end
            said = said[: _count_sure(tokens, end, SURE if self.shown else SURE_OF_THE_FIRST)]
        if not said or self.finished or not self.options.interim:
            return None
        self.shown = len(said)
        return Hypothesis(self.speech_begin, None, said, paused=kind.final)

    def split(self) -> Hypothesis | None:
        """Close the text committed so far, if it is complete or too long; the rest goes on."""
        count = semantic_cut(self._tokens) if self.options.semantic else None
        longest = from_ms(self.options.max_sentence_ms)
        count = count or forced_cut(self._tokens, self.speech_begin, longest)
        if count is None:
            return None
        closed, self._tokens = self._tokens[:count], self._tokens[count:]
        final = Hypothesis(self.speech_begin, closed[-1].end, self._said(tuple(closed)))
        if self.hotwords is not None:
            self.hotwords.cut(count)
        if self._speculation is not None:
            self._speculation.tokens = self._speculation.tokens[count:]
        self.speech_begin = self._tokens[0].begin
        self.shown = 0
        return final

    def finals(self) -> list[Hypothesis]:
        """What will not change any more; only once `finished`.

        Several sentences where punctuation may end them, none where nothing was understood.
        """
        assert self._speculation is not None
        assert self.speech_end is not None
        tokens, finals = self._speculation.tokens, []
        while self.options.semantic and (count := semantic_cut(tokens, settled=1)) is not None:
            finals.append(Hypothesis(self.speech_begin, tokens[count - 1].end, tokens[:count]))
            tokens, self.speech_begin = tokens[count:], tokens[count].begin
            self.shown = 0
        end = min(self.speech_end, tokens[-1].end + RING_OUT) if tokens else self.speech_end
        if tokens or self.shown:  # noise that the VAD took for speech is never told of
            finals.append(Hypothesis(self.speech_begin, end, tokens))
        return finals

    def _said(self, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        return tokens if self.hotwords is None else self.hotwords.rewrite(tokens)

    def _place(self, heard: DecodeResult, audio_end: Samples) -> list[Token]:
        """Tokens with their times: from the last token's end, or a syllable back, to the firing."""
        tokens: list[Token] = []
        previous = self._tokens[-1].end if self._tokens else self.speech_begin
        for fired in heard.tokens:
            fired_at = min(self.position + round(fired.fired_at), audio_end)
            end = max(previous + 1, fired_at)
            begin = max(previous, end - LONGEST_TOKEN)
            tokens.append(Token(fired.piece, begin, end, fired.confidence))
            previous = end
        return tokens


def _count_sure(tokens: tuple[Token, ...], heard_to: Samples, likely: float) -> int:
    """How many of the tokens can be shown, with audio only up to `heard_to`."""
    count = len(tokens)
    while count:
        last = tokens[count - 1]
        if last.confidence >= likely or last.end + UNSURE_WITHIN <= heard_to:
            break
        count -= 1
    return count


def _marked(tokens: tuple[Token, ...], marks: tuple[str, ...]) -> tuple[Token, ...]:
    if not marks:
        return tokens
    return tuple(
        Token(token.piece, token.begin, token.end, token.confidence, mark)
        for token, mark in zip(tokens, marks, strict=True)
    )
