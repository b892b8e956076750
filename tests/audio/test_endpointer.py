"""Begin and end of sentences from speech probabilities."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.audio.endpointer import (
    ONSET_LAG,
    RELEASE_LAG,
    WINDOW,
    Change,
    Endpointer,
    EndpointingOptions,
    SentenceEnded,
    SpeechBegan,
    SpeechPaused,
    SpeechResumed,
)


def run(picture: str, finish: bool = False, **options: Any) -> list[Change]:
    """Return the changes for windows: `.` silence, `-` between the thresholds, `#` speech."""
    endpointer = Endpointer(EndpointingOptions(**options))
    changes: list[Change] = []
    for window in picture:
        changes += endpointer.accept({".": 0.05, "-": 0.4, "#": 0.9}[window])
    if finish:
        changes += endpointer.finish(len(picture) * WINDOW)
    return changes


def began(window: int) -> SpeechBegan:
    return SpeechBegan(max(0, window * WINDOW - ONSET_LAG))


def paused(window: int) -> SpeechPaused:
    return SpeechPaused(window * WINDOW - RELEASE_LAG)


def ended(window: int) -> SentenceEnded:
    return SentenceEnded(window * WINDOW - RELEASE_LAG)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("....", []),
        ("..##....", []),  # 64 ms: a click
        ("..###", [began(2)]),
        ("..#--", [began(2)]),  # between the thresholds the state stays
        ("..#.#.#.#", []),
        ("######" + "." * 5, [began(0)]),
        ("######" + "." * 6, [began(0), paused(6)]),
        ("######" + "." * 6 + "#", [began(0), paused(6), SpeechResumed()]),
        ("######" + "." * 5 + "#" + "." * 5, [began(0)]),
        ("######" + "." * 21, [began(0), paused(6), ended(6)]),  # 800 ms less the lag
        ("######" + "-" * 60, [began(0)]),
        (
            "######" + "." + "-" * 20,  # after silence, between the thresholds counts as silence
            [began(0), paused(6), ended(6)],
        ),
    ],
)
def test_sentences_follow_the_hysteresis(picture: str, expected: list[Change]) -> None:
    assert run(picture) == expected


@pytest.mark.parametrize("silence_ms", [320, 400, 800, 1300, 6000])
def test_a_sentence_ends_when_the_silence_reaches_the_requested_length(silence_ms: int) -> None:
    windows = -(-(silence_ms * 16 - RELEASE_LAG) // WINDOW)
    speech = "######"
    before = run(speech + "." * (windows - 1), max_sentence_silence_ms=silence_ms)
    after = run(speech + "." * windows, max_sentence_silence_ms=silence_ms)
    assert not any(isinstance(change, SentenceEnded) for change in before)
    assert after[-1] == ended(6)


@pytest.mark.parametrize("silence_ms", [0, 200, 319])
def test_no_silence_shorter_than_a_pause_ends_a_sentence(silence_ms: int) -> None:
    assert run("######" + "." * 5, max_sentence_silence_ms=silence_ms) == [began(0)]
    assert run("######" + "." * 6, max_sentence_silence_ms=silence_ms)[-1] == ended(6)


def test_a_word_shorter_than_the_lag_ends_after_it_begins() -> None:
    assert run("###....", finish=True) == [began(0), SentenceEnded(WINDOW)]


def test_a_short_word_right_before_the_end_is_not_lost() -> None:
    assert run("...##", finish=True) == [began(3), SentenceEnded(5 * WINDOW)]


def test_finishing_in_a_pause_ends_the_sentence_where_speech_ended() -> None:
    assert run("######....", finish=True)[-1] == ended(6)


@pytest.mark.parametrize(("speech_s", "needed_ms"), [(5, 1_000), (20, 660), (40, 320)])
def test_a_shrinking_silence_is_the_shorter_the_longer_the_sentence(
    speech_s: int, needed_ms: int
) -> None:
    windows = -(-(needed_ms * 16 - RELEASE_LAG) // WINDOW)
    speech = "#" * (speech_s * 16_000 // WINDOW)
    options = {"max_sentence_silence_ms": 1_000, "shrinking": True}
    early = run(speech + "." * (windows - 2), **options)
    late = run(speech + "." * (windows + 2), **options)
    assert not any(isinstance(change, SentenceEnded) for change in early)
    assert isinstance(late[-1], SentenceEnded)


@given(st.text(alphabet=".-#", max_size=300))
def test_sentences_alternate_and_never_overlap(picture: str) -> None:
    end_of_last = 0
    open_since: int | None = None
    for change in run(picture, finish=True):
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
def test_every_window_of_lasting_clear_speech_is_in_a_sentence(picture: str) -> None:
    spans: list[tuple[int, int]] = []
    begin = 0
    for change in run(picture, finish=True):
        if isinstance(change, SpeechBegan):
            begin = change.begin
        elif isinstance(change, SentenceEnded):
            spans.append((begin, change.end))
    for place in range(len(picture) - 2):
        if picture[place : place + 3] == "###":
            window = (place + 1) * WINDOW
            assert any(start <= window < end + RELEASE_LAG for start, end in spans)
