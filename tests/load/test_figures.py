"""From what a client noted to latencies: arithmetic."""

import pytest

from asr_server.load.account import Account, Shown
from asr_server.load.figures import (
    Goals,
    figures,
    finals,
    first_texts,
    percentiles,
    revisions,
    tails,
)
from asr_server.load.recordings import Recording, Speech

START = 1000.0
TWO = (Speech(0.35, 1.0), Speech(2.0, 2.95))


def account(shown=(), speech=TWO, sent=50, **others) -> Account:
    recording = Recording("r", (b"",) * 50, tuple(speech))
    results = [Shown(START + at, number, text, final) for at, number, text, final in shown]
    return Account(recording, START, results, sent=sent, **others)


HEARD = [
    (0.9, 1, "", False),
    (1.0, 1, "你", False),
    (1.3, 1, "您好", False),
    (1.95, 1, "您好。", True),
    (2.6, 2, "再", False),
    (3.9, 2, "再见。", True),
]


def test_first_text_counts_from_when_the_frame_with_the_first_speech_was_due():
    # Speech from 0.35 s is in the fourth frame, due after 0.4 s; from 2.0 s in the 21st.
    assert [one.seconds for one in first_texts(account(HEARD))] == pytest.approx([0.6, 0.5])


def test_finals_count_from_when_the_frame_with_the_last_speech_was_due():
    assert [one.seconds for one in finals(account(HEARD))] == pytest.approx([0.85, 0.9])


def test_without_an_interim_the_final_is_the_first_text():
    heard = [(2.0, 1, "您好。", True)]
    assert first_texts(account(heard, TWO[:1]))[0].seconds == pytest.approx(1.6)


def test_where_the_server_hears_other_sentences_only_the_ends_are_compared():
    heard = [*HEARD, (4.5, 3, "啊。", True)]
    assert [one.seconds for one in first_texts(account(heard))] == pytest.approx([0.6])
    assert [one.seconds for one in finals(account(heard))] == pytest.approx([1.5])


def test_a_recording_that_was_cut_short_has_no_finals():
    assert finals(account(HEARD, sent=20)) == []


def test_the_tail_is_that_of_finished_tasks_only():
    assert tails(account(asked=START + 5, ended=START + 5.1))[0].seconds == pytest.approx(0.1)
    assert tails(account(asked=START + 5, ended=START + 9, error="no answer")) == []
    assert tails(account()) == []


def test_what_was_due_before_or_after_does_not_count():
    noted = account(HEARD, asked=START + 5, ended=START + 5.1)
    seen = figures([noted], START + 1, START + 5)
    assert (seen.first_text.count, seen.final.count, seen.tail.count) == (1, 2, 0)


def test_refused_is_not_failed():
    refused = account(error="Throttling.RateQuota", refused=True, ended=START + 1)
    failed = account(error="InternalError", ended=START + 1)
    seen = figures([refused, failed, failed], START, START + 5)
    assert (seen.refused, seen.failed) == (1, {"InternalError": 2})
    assert set(seen.broken(Goals())) == {"1 refused", "2 x InternalError", "no task finished"}


def test_what_was_not_seen_is_named():
    shown = HEARD[:3]  # interims; the first final was not due yet
    seen = figures([account(shown, asked=START + 5, ended=START + 5.1)], START, START + 6)
    assert seen.broken(Goals(first_text_s=1.0)) == ["no final was seen"]


def test_goals_are_for_the_95th_percentile():
    def seen(slow: int):
        tasks = []
        for number in range(100):
            final = 1.9 if number >= slow else 2.5
            heard = [(0.9, 1, "好", False), (final, 1, "好。", True)]
            tasks.append(account(heard, TWO[:1], asked=START + 5, ended=START + 5.1))
        return figures(tasks, START, START + 6)

    assert seen(slow=4).broken(Goals()) == []
    assert seen(slow=6).broken(Goals()) == ["final p95 1400 ms > 950 ms"]


def test_who_sent_late_says_so_and_blames_nobody():
    punctual = account(late=[(START + n / 10, 0.002) for n in range(100)])
    assert not figures([punctual], START, START + 10).own_fault(Goals())
    sleepy = account(late=[(START + n / 10, 0.2 if n % 50 == 0 else 0.0) for n in range(100)])
    assert figures([sleepy], START, START + 10).own_fault(Goals())


def test_characters_that_are_replaced_count_as_revised():
    shown = [Shown(0, 1, text, False) for text in ("今", "今天", "金天气", "今天气")]
    assert revisions([*shown, Shown(0, 1, "今天气。", True), Shown(0, 2, "好", False)]) == (10, 5)


def test_nothing_measured_is_nothing_and_not_zero():
    assert percentiles([]).p95 is None
    assert percentiles([1.0]).p99 == 1.0
