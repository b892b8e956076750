"""From a client's record to latencies: arithmetic."""

import pytest

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
from asr_server.load.task_record import Result, TaskRecord

START = 1000.0
TWO = (Speech(0.35, 1.0), Speech(2.0, 2.95))


def record(results=(), speech=TWO, sent=50, **others) -> TaskRecord:
    recording = Recording("r", (b"",) * 50, tuple(speech))
    arrived = [Result(START + at, text, final) for at, text, final in results]
    return TaskRecord(recording, START, arrived, sent=sent, **others)


RESULTS = [
    (0.9, "", False),
    (1.0, "你", False),
    (1.3, "您好", False),
    (1.95, "您好。", True),
    (2.6, "再", False),
    (3.9, "再见。", True),
]


def test_first_text_counts_from_when_the_frame_with_the_first_speech_was_due():
    # Speech from 0.35 s is in the fourth frame, due after 0.4 s; from 2.0 s in the 21st.
    assert [one.seconds for one in first_texts(record(RESULTS))] == pytest.approx([0.6, 0.5])


def test_finals_count_from_when_the_frame_with_the_last_speech_was_due():
    assert [one.seconds for one in finals(record(RESULTS))] == pytest.approx([0.85, 0.9])


def test_without_an_interim_the_final_is_the_first_text():
    results = [(2.0, "您好。", True)]
    assert first_texts(record(results, TWO[:1]))[0].seconds == pytest.approx(1.6)


def test_where_sentences_and_speech_differ_only_the_ends_are_compared():
    results = [*RESULTS, (4.5, "啊。", True)]
    assert [one.seconds for one in first_texts(record(results))] == pytest.approx([0.6])
    assert [one.seconds for one in finals(record(results))] == pytest.approx([1.5])


def test_a_recording_that_was_cut_short_has_no_final_latency():
    assert finals(record(RESULTS, sent=20)) == []


def test_the_tail_is_that_of_finished_tasks_only():
    assert tails(record(finish_sent=START + 5, ended=START + 5.1))[0].seconds == pytest.approx(0.1)
    assert tails(record(finish_sent=START + 5, ended=START + 9, error="no answer")) == []
    assert tails(record()) == []


def test_latencies_due_outside_the_period_do_not_count():
    one = record(RESULTS, finish_sent=START + 5, ended=START + 5.1)
    measured = figures([one], START + 1, START + 5)
    assert (measured.first_text.count, measured.final.count, measured.tail.count) == (1, 2, 0)


def test_refused_is_not_failed():
    refused = record(error="Throttling.RateQuota", refused=True, ended=START + 1)
    failed = record(error="InternalError", ended=START + 1)
    measured = figures([refused, failed, failed], START, START + 5)
    assert (measured.refused, measured.failed) == (1, {"InternalError": 2})
    assert set(measured.broken(Goals())) == {"1 refused", "2 x InternalError", "no task finished"}


def test_a_latency_without_a_measurement_is_named():
    results = RESULTS[:3]  # interims; the first final was not due yet
    measured = figures(
        [record(results, finish_sent=START + 5, ended=START + 5.1)], START, START + 6
    )
    assert measured.broken(Goals(first_text_s=1.0)) == ["no final was measured"]


def test_goals_are_for_the_95th_percentile():
    def measured(slow: int):
        tasks = []
        for number in range(100):
            final = 1.9 if number >= slow else 2.5
            results = [(0.9, "好", False), (final, "好。", True)]
            tasks.append(record(results, TWO[:1], finish_sent=START + 5, ended=START + 5.1))
        return figures(tasks, START, START + 6)

    assert measured(slow=4).broken(Goals()) == []
    assert measured(slow=6).broken(Goals()) == ["final p95 1400 ms > 950 ms"]


def test_a_late_load_generator_reports_itself_as_unreliable():
    punctual = record(late=[(START + n / 10, 0.002) for n in range(100)])
    assert not figures([punctual], START, START + 10).unreliable(Goals())
    sleepy = record(late=[(START + n / 10, 0.2 if n % 50 == 0 else 0.0) for n in range(100)])
    assert figures([sleepy], START, START + 10).unreliable(Goals())


def test_characters_that_are_replaced_count_as_revised():
    results = [Result(0, text, False) for text in ("今", "今天", "金天气", "今天气")]
    assert revisions([*results, Result(0, "今天气。", True), Result(0, "好", False)]) == (10, 5)


def test_no_measurement_is_none_and_not_zero():
    assert percentiles([]).p95 is None
    assert percentiles([1.0]).p99 == 1.0
