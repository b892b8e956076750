"""Where sentences begin and end, from speech probabilities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.audio.endpoint import (
    WINDOW,
    Change,
    Endpointer,
    EndpointOptions,
    SentenceEnded,
    SpeechBegan,
    SpeechPaused,
    SpeechResumed,
)


def follow(picture: str, finish: bool = False, **options: int) -> list[Change]:
    """Run windows drawn as `.` silence, `-` in between, `#` speech."""
    endpointer = Endpointer(EndpointOptions(**options))
    changes: list[Change] = []
    for window in picture:
        changes += endpointer.accept({".": 0.05, "-": 0.4, "#": 0.9}[window])
    if finish:
        changes += endpointer.finish(len(picture) * WINDOW)
    return changes


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("....", []),
        ("..##....", []),  # 64 ms: a click
        ("..###", [SpeechBegan(2 * WINDOW)]),
        ("..#--", [SpeechBegan(2 * WINDOW)]),  # in between, what was goes on
        ("..#.#.#.#", []),
        ("###" + "." * 6, [SpeechBegan(0)]),
        ("###" + "." * 7, [SpeechBegan(0), SpeechPaused(3 * WINDOW)]),
        (
            "###" + "." * 7 + "#",
            [SpeechBegan(0), SpeechPaused(3 * WINDOW), SpeechResumed()],
        ),
        ("###" + "." * 6 + "#" + "." * 6, [SpeechBegan(0)]),
        (
            "###" + "." * 25,  # 800 ms
            [SpeechBegan(0), SpeechPaused(3 * WINDOW), SentenceEnded(3 * WINDOW)],
        ),
        ("###" + "-" * 60, [SpeechBegan(0)]),
        (
            "###" + "." + "-" * 24,  # once silent, in between counts as silence
            [SpeechBegan(0), SpeechPaused(3 * WINDOW), SentenceEnded(3 * WINDOW)],
        ),
    ],
)
def test_sentences_follow_the_hysteresis(picture: str, expected: list[Change]) -> None:
    assert follow(picture) == expected


@pytest.mark.parametrize("silence_ms", [200, 400, 800, 1300, 6000])
def test_a_sentence_ends_when_the_silence_reaches_the_requested_length(silence_ms: int) -> None:
    windows = -(-silence_ms * 16 // WINDOW)
    speech = "####"
    before = follow(speech + "." * (windows - 1), max_sentence_silence_ms=silence_ms)
    after = follow(speech + "." * windows, max_sentence_silence_ms=silence_ms)
    assert not any(isinstance(change, SentenceEnded) for change in before)
    assert after[-1] == SentenceEnded(4 * WINDOW)


def test_a_short_word_right_before_the_end_is_not_lost() -> None:
    assert follow("...##", finish=True) == [SpeechBegan(3 * WINDOW), SentenceEnded(5 * WINDOW)]


def test_finishing_in_a_pause_ends_the_sentence_where_speech_ended() -> None:
    assert follow("###....", finish=True)[-1] == SentenceEnded(3 * WINDOW)


def test_a_very_long_sentence_ends_at_the_next_dip() -> None:
    assert follow("#" * 40 + "." + "#" * 5, max_sentence_ms=1_000) == [
        SpeechBegan(0),
        SentenceEnded(40 * WINDOW),
        SpeechBegan(41 * WINDOW),
    ]


@given(st.text(alphabet=".-#", max_size=300))
def test_sentences_alternate_and_never_overlap(picture: str) -> None:
    end_of_last = 0
    open_since: int | None = None
    for change in follow(picture, finish=True):
        match change:
            case SpeechBegan(begin):
                assert open_since is None
                assert begin >= end_of_last
                open_since = begin
            case SentenceEnded(end):
                assert open_since is not None
                assert end > open_since
                open_since, end_of_last = None, end
            case SpeechPaused() | SpeechResumed():
                assert open_since is not None
    assert open_since is None


@given(st.text(alphabet=".-#", max_size=200))
def test_every_window_of_clear_speech_that_lasts_lies_in_a_sentence(picture: str) -> None:
    spans: list[tuple[int, int]] = []
    begin = 0
    for change in follow(picture, finish=True):
        if isinstance(change, SpeechBegan):
            begin = change.begin
        elif isinstance(change, SentenceEnded):
            spans.append((begin, change.end))
    for place in range(len(picture) - 2):
        if picture[place : place + 3] == "###":
            window = (place + 1) * WINDOW
            assert any(start <= window < end for start, end in spans)
