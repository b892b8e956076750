"""One sentence on its way from chunks to hypotheses."""

import numpy as np

from asr_server.asr.hotwords import HotwordSearch, compiled
from asr_server.asr.sentence_track import SentenceTrack
from asr_server.asr.types import (
    ChunkGeometry,
    FiredToken,
    Heard,
    Hypothesis,
    Kind,
    StreamOptions,
)

STRIDE = 9_600
GEOMETRY = ChunkGeometry(STRIDE, 480)


def heard(text: str, marks: str, *rows: list[float]) -> Heard:
    """`marks` has one character for every token of the sentence so far, "-" for none."""
    tokens = tuple(FiredToken(c, (n + 1) * 1_000.0, 1.0) for n, c in enumerate(text))
    evidence = np.array(rows, dtype=np.float32) if rows else None
    return Heard(tokens, tuple(mark.strip("-") for mark in marks), evidence)


def text(hypothesis: Hypothesis | None) -> str:
    assert hypothesis is not None
    return "".join(token.piece for token in hypothesis.tokens)


def test_what_was_closed_at_a_pause_is_not_said_again() -> None:
    track = SentenceTrack(0, 0, GEOMETRY, StreamOptions(semantic=True), 0)
    track.advance(STRIDE)
    track.accept(Kind.COMMIT, STRIDE, heard("对好我们走吧", "。。----"))
    assert text(track.split()) == "对"
    track.pause(STRIDE, STRIDE + 2_000)
    track.accept(Kind.SPECULATE, track.audio_end, heard("了", "。----。"))
    assert text(track.split()) == "好"
    track.end(STRIDE, STRIDE + 2_000)
    assert [text(final) for final in track.finals()] == ["我们走吧了"]


def test_a_part_that_is_closed_has_its_hotwords() -> None:
    words = compiled((("长安", 4),), tuple("长安常今天在"))
    assert words is not None
    assert words.pieces == ("安", "长")
    said, near, no = [0.0, -9.0], [-9.0, -1.0], [-9.0, -9.0]
    options = StreamOptions(semantic=True)
    track = SentenceTrack(0, 0, GEOMETRY, options, 0, HotwordSearch(words))
    track.advance(STRIDE)
    first = heard("在常安今天在常", "--。----", no, near, said, no, no, no, near)
    track.accept(Kind.COMMIT, STRIDE, first)
    assert text(track.split()) == "在长安"
    track.end(STRIDE, STRIDE + 2_000)
    track.accept(Kind.FLUSH, track.audio_end, heard("安", "-----", said))
    assert [text(final) for final in track.finals()] == ["今天在长安"]


def test_a_sentence_that_was_told_of_gets_a_final_even_without_text() -> None:
    track = SentenceTrack(0, 0, GEOMETRY, StreamOptions(), 3_200)
    track.advance(4_000)
    assert text(track.accept(Kind.PREVIEW, 4_000, heard("对", "-"))) == "对"
    track.end(4_000, 6_000)
    track.accept(Kind.FLUSH, track.audio_end, heard("", ""))
    assert [text(final) for final in track.finals()] == [""]


def test_noise_that_was_never_told_of_has_no_final() -> None:
    track = SentenceTrack(0, 0, GEOMETRY, StreamOptions(), 3_200)
    track.advance(4_000)
    assert track.accept(Kind.PREVIEW, 4_000, heard("", "")) is None
    track.end(4_000, 6_000)
    track.accept(Kind.FLUSH, track.audio_end, heard("", ""))
    assert track.finals() == []
