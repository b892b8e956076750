"""Check how one sentence gets from chunks to hypotheses."""

import numpy as np
import pytest

from asr_server.asr.hotword_compiler import compile_hotwords
from asr_server.asr.hotwords import HotwordSearch
from asr_server.asr.sentence_track import SentenceTrack
from asr_server.asr.types import ChunkGeometry, DecodedToken, DecodeResult, Kind, StreamOptions
from asr_server.audio.units import from_ms
from asr_server.recognition import Hypothesis

STRIDE = 9_600
GEOMETRY = ChunkGeometry(STRIDE, 480)


def decoded(text: str, marks: str, *rows: list[float]) -> DecodeResult:
    """Return a result; `marks` has a character for every token of the sentence, "-" for none."""
    tokens = tuple(DecodedToken(c, (n + 1) * 1_000.0, 1.0) for n, c in enumerate(text))
    evidence = np.array(rows, dtype=np.float32) if rows else None
    return DecodeResult(tokens, tuple(mark.strip("-") for mark in marks), evidence)


def text(hypothesis: Hypothesis | None) -> str:
    assert hypothesis is not None
    return "".join(token.piece for token in hypothesis.tokens)


def test_text_that_was_closed_at_a_pause_is_not_repeated() -> None:
    track = SentenceTrack(0, 0, GEOMETRY, StreamOptions(semantic=True), 0)
    track.advance(STRIDE)
    track.accept(Kind.COMMIT, STRIDE, decoded("对好我们走吧", "。。----"))
    assert text(track.split()) == "对"
    track.pause(STRIDE, STRIDE + 2_000)
    track.accept(Kind.SPECULATE, track.audio_end, decoded("了", "。----。"))
    assert text(track.split()) == "好"
    track.end(STRIDE, STRIDE + 2_000)
    assert [text(final) for final in track.finals()] == ["我们走吧了"]


def test_a_part_that_is_closed_has_its_hotwords() -> None:
    words = compile_hotwords((("长安", 4),), tuple("长安常今天在"))
    assert words is not None
    assert words.pieces == ("安", "长")
    best, near, no = [0.0, -9.0], [-9.0, -1.0], [-9.0, -9.0]
    options = StreamOptions(semantic=True)
    track = SentenceTrack(0, 0, GEOMETRY, options, 0, HotwordSearch(words))
    track.advance(STRIDE)
    first = decoded("在常安今天在常", "--。----", no, near, best, no, no, no, near)
    track.accept(Kind.COMMIT, STRIDE, first)
    assert text(track.split()) == "在长安"
    track.end(STRIDE, STRIDE + 2_000)
    track.accept(Kind.FLUSH, track.audio_end, decoded("安", "-----", best))
    assert [text(final) for final in track.finals()] == ["今天在长安"]


def test_a_sentence_that_showed_text_gets_a_final_even_without_text() -> None:
    track = SentenceTrack(0, 0, GEOMETRY, StreamOptions(), 3_200)
    track.advance(4_000)
    assert text(track.accept(Kind.PREVIEW, 4_000, decoded("对", "-"))) == "对"
    track.end(4_000, 6_000)
    track.accept(Kind.FLUSH, track.audio_end, decoded("", ""))
    assert [text(final) for final in track.finals()] == [""]


def test_noise_that_never_showed_text_has_no_final() -> None:
    track = SentenceTrack(0, 0, GEOMETRY, StreamOptions(), 3_200)
    track.advance(4_000)
    assert track.accept(Kind.PREVIEW, 4_000, decoded("", "")) is None
    track.end(4_000, 6_000)
    track.accept(Kind.FLUSH, track.audio_end, decoded("", ""))
    assert track.finals() == []


def fired(*tokens: tuple[str, int, float]) -> DecodeResult:
    """Return tokens with the time in ms at which they fired, from the chunk on, and confidences."""
    return DecodeResult(tuple(DecodedToken(piece, from_ms(ms), sure) for piece, ms, sure in tokens))


def track_with(preview_ms: int = 200) -> SentenceTrack:
    return SentenceTrack(0, 0, GEOMETRY, StreamOptions(), from_ms(preview_ms))


def test_a_preview_holds_back_unsure_tokens_at_the_end_of_the_audio() -> None:
    track = track_with()
    track.advance(from_ms(500))
    unsure = fired(("今", 200, 0.9), ("田", 400, 0.5), ("气", 480, 0.2))
    assert text(track.accept(Kind.PREVIEW, from_ms(300), fired(("今", 200, 0.9)))) == "今"
    assert text(track.accept(Kind.PREVIEW, from_ms(500), unsure)) == "今"
    assert text(track.accept(Kind.PREVIEW, from_ms(570), unsure)) == "今田"  # 田 is old enough


@pytest.mark.parametrize(("confidence", "shown"), [(0.4, True), (0.2, False)])
def test_the_first_text_needs_less_confidence(confidence: float, shown: bool) -> None:
    track = track_with()
    track.advance(from_ms(500))
    interim = track.accept(Kind.PREVIEW, from_ms(500), fired(("田", 450, confidence)))
    assert (interim is not None) == shown


def test_at_a_pause_even_unsure_tokens_are_shown() -> None:
    track = track_with()
    track.advance(from_ms(500))
    track.pause(from_ms(200), from_ms(520))
    interim = track.accept(Kind.SPECULATE, from_ms(520), fired(("田", 450, 0.3)))
    assert text(interim) == "田"
    assert interim is not None
    assert interim.paused


def test_a_chunk_that_decodes_less_than_a_preview_retracts_nothing() -> None:
    track = track_with()
    track.advance(from_ms(580))
    seen = fired(("今", 200, 0.9), ("天", 400, 0.9))
    assert text(track.accept(Kind.PREVIEW, from_ms(580), seen)) == "今天"
    track.advance(STRIDE)
    assert track.accept(Kind.COMMIT, STRIDE, fired(("今", 200, 0.9))) is None
    track.advance(STRIDE + from_ms(200))
    further = fired(("天", -200, 0.9), ("气", 0, 0.9))
    assert text(track.accept(Kind.PREVIEW, STRIDE + from_ms(200), further)) == "今天气"


def test_without_previews_every_chunk_with_text_is_shown() -> None:
    track = track_with(preview_ms=0)
    track.advance(2 * STRIDE)
    assert text(track.accept(Kind.COMMIT, STRIDE, fired(("今", 200, 0.9)))) == "今"
    assert text(track.accept(Kind.COMMIT, 2 * STRIDE, fired(("天", 0, 0.9)))) == "今天"


def test_previews_come_closer_together_until_there_is_text() -> None:
    track = track_with()
    track.advance(from_ms(99))
    assert track.due is None
    track.advance(from_ms(100))
    assert track.due is Kind.PREVIEW
    track.accept(Kind.PREVIEW, from_ms(100), fired(("今", 50, 0.9)))
    track.advance(from_ms(299))
    assert track.due is None
    track.advance(from_ms(300))
    assert track.due is Kind.PREVIEW


def test_speech_in_noise_ends_shortly_after_its_last_token() -> None:
    for noise_ms, end in ((0, 400), (600, 200 + 48)):
        track = track_with()
        track.advance(from_ms(200))
        track.end(from_ms(400 + noise_ms), from_ms(1_500))
        track.accept(Kind.FLUSH, track.audio_end, fired(("今", 200 if noise_ms else 390, 0.9)))
        assert [final.end for final in track.finals()] == [from_ms(end)]


def test_no_token_ends_after_the_audio_of_its_chunk() -> None:
    track = track_with()
    track.advance(from_ms(500))
    track.end(from_ms(300), from_ms(500))
    track.accept(Kind.FLUSH, from_ms(500), fired(("今", 1_200, 0.9)))
    (final,) = track.finals()
    assert (final.tokens[0].begin, final.tokens[0].end) == (from_ms(100), from_ms(500))


def test_a_mark_inside_digits_without_a_pause_is_dropped_and_cuts_no_sentence() -> None:
    track = SentenceTrack(0, 0, GEOMETRY, StreamOptions(semantic=True), 0)
    track.advance(STRIDE)
    track.accept(Kind.COMMIT, STRIDE, decoded("八零零零零", "。----"))
    assert track.split() is None
    track.end(STRIDE, STRIDE + 2_000)
    track.accept(Kind.FLUSH, track.audio_end, decoded("号", "。----。"))
    (final,) = track.finals()
    assert [token.mark for token in final.tokens] == ["", "", "", "", "", "。"]
