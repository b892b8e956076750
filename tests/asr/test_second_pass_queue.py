"""Check which sentences the offline model computes next."""

import pytest

from asr_server.asr.batching import Load
from asr_server.asr.second_pass import SecondPassJob
from asr_server.asr.second_pass_queue import SecondPassQueue, overloaded
from asr_server.audio.units import SAMPLE_RATE


def job(stream: int, seconds: float = 2.0, begin: int = 0) -> SecondPassJob:
    return SecondPassJob(stream, begin, begin + round(seconds * SAMPLE_RATE))


def waiting(*jobs: tuple[SecondPassJob, float, bool]) -> SecondPassQueue:
    """Return a queue with jobs, their deadlines, and whether they are live; offered at time 0."""
    queue = SecondPassQueue()
    for one, deadline, live in jobs:
        queue.offer(one.stream, {one: deadline}, live, 0.0)
    return queue


def taken(queue: SecondPassQueue, now: float = 0.0, any_live: bool = True) -> list[int]:
    """Return the streams of the next step."""
    return [one.stream for one in queue.take(now, any_live)]


def test_live_audio_comes_first_and_the_earliest_deadline_before_others() -> None:
    lengths = 1.0, 2.0, 4.0  # too different for one batch
    bulk, late, soon = (job(n, length) for n, length in enumerate(lengths))
    queue = waiting((bulk, 1.0, False), (late, 3.0, True), (soon, 2.0, True))
    assert [taken(queue), taken(queue), taken(queue), taken(queue)] == [[2], [1], [0], []]


def test_sentences_of_similar_length_share_a_step() -> None:
    jobs = [job(1, 2.0), job(2, 2.4), job(3, 9.0), job(4, 1.9), job(5, 8.0)]
    queue = waiting(*((one, 1.0, True) for one in jobs))
    assert [taken(queue), taken(queue)] == [[1, 2, 4], [3, 5]]


def test_a_step_is_bounded_in_sentences_and_in_audio() -> None:
    queue = waiting(*((job(n, 0.5), 1.0, True) for n in range(20)))
    assert len(taken(queue)) == 8
    queue = waiting(*((job(n, 25.0), 1.0, True) for n in range(5)))
    assert len(taken(queue)) == 2


def test_recordings_take_short_steps_while_a_stream_is_live() -> None:
    jobs = [(job(n, 4.0), 30.0, False) for n in range(6)]
    assert len(taken(waiting(*jobs), any_live=True)) == 2
    assert len(taken(waiting(*jobs), any_live=False)) == 6


def test_a_slow_step_of_recordings_rules_no_live_sentence_out() -> None:
    for live, late in ((False, []), (True, [job(2)])):
        queue = waiting((job(1), 30.0, live))
        taken(queue)
        queue.computed([job(1)], 2.0)
        queue.offer(2, {job(2): 0.5}, True, 0.0)
        assert queue.take_late(0.0) == late


def test_no_other_sentence_makes_a_deadline_pass() -> None:
    jobs = (job(1), 0.25, True), (job(2), 0.5, True)
    assert taken(waiting(*jobs)) == [1, 2]  # the cost is not known yet
    queue = waiting(*jobs)
    queue.computed([job(3)], 0.2)
    assert taken(queue) == [1]


def test_what_cannot_be_ready_in_time_is_late_before_it_begins() -> None:
    queue = waiting((job(1), 0.15, True), (job(2), 0.25, True), (job(3), 0.15, False))
    queue.computed([job(4)], 0.2)
    assert queue.take_late(0.0) == [job(1)]
    assert queue.take_late(0.0) == []


def test_a_slow_minute_does_not_rule_sentences_out_for_ever() -> None:
    queue = SecondPassQueue()
    for _ in range(20):
        queue.computed([job(1)], 5.0)
    for attempt in range(100):
        queue.offer(1, {job(1): 0.5}, True, 0.0)
        if not queue.take_late(0.0):
            assert attempt > 10
            return
    pytest.fail("every sentence is late")


def test_a_job_keeps_its_waiting_time_and_a_stream_that_closed_has_none() -> None:
    queue = waiting((job(1), 1.0, True), (job(2), 1.0, True))
    queue.offer(1, {job(1): 0.9}, True, 5.0)
    queue.withdraw(2)
    assert queue.take(5.0, True) == {job(1): 0.0}


def test_a_step_that_did_not_fit_makes_later_ones_smaller() -> None:
    queue = waiting(*((job(n), 1.0, True) for n in range(8)))
    queue.limit_batch(2)
    assert taken(queue) == [0, 1]


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (Load(0.9, 0.1, without_previews=0.5), False),
        (Load(0.9, 0.0, without_previews=0.7), True),
        (Load(0.1, 0.13), True),
        (Load(0.1, 0.13, lone_delay_s=0.1), True),  # near the delay at which tasks are refused
        (Load(0.5, 0.2, lone_delay_s=0.16), False),  # a slow processor that has time left
        (Load(0.5, 0.3, lone_delay_s=0.16), True),
    ],
)
def test_a_device_that_live_audio_needs_runs_no_second_pass(load: Load, expected: bool) -> None:
    assert overloaded(load) is expected
