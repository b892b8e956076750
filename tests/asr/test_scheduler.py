"""Who rides the next step."""

from asr_server.asr.scheduler import Batch, Policy, Scheduler
from asr_server.asr.types import Kind

POLICY = Policy(max_batch=4, max_wait_s=0.01, max_judge_wait_s=0.02, chunk_period_s=0.6)


def scheduler() -> Scheduler:
    return Scheduler(POLICY)


def test_a_chunk_waits_for_company_only_as_long_as_it_may() -> None:
    s = scheduler()
    s.offer(1, False, Kind.COMMIT, now=1.0)
    assert not s.take(now=1.005, streams=8, load=1.0)
    assert s.wake_at() == 1.01
    assert s.take(now=1.01, streams=8, load=1.0) == Batch(chunks=(1,))


def test_the_less_there_is_to_do_the_shorter_is_the_wait() -> None:
    s = scheduler()
    s.offer(1, True, None, now=1.0)
    assert not s.take(now=1.004, streams=8, load=0.5)
    assert s.wake_at() == 1.01
    assert s.take(now=1.004, streams=8, load=0.2) == Batch(judge=(1,))
    s.offer(1, False, Kind.PREVIEW, now=2.0)
    assert s.take(now=2.0, streams=8, load=0.0) == Batch(chunks=(1,))


def test_nobody_waits_when_everybody_open_is_ready() -> None:
    s = scheduler()
    s.offer(1, False, Kind.COMMIT, now=1.0)
    s.offer(2, False, Kind.COMMIT, now=1.0)
    assert set(s.take(now=1.0, streams=2).chunks) == {1, 2}


def test_audio_is_judged_before_chunks_are_computed_because_it_decides_which_are_due() -> None:
    s = scheduler()
    s.offer(1, True, None, now=1.0)
    s.offer(2, False, Kind.COMMIT, now=1.0)
    assert s.take(now=1.02, streams=2, load=1.0) == Batch(judge=(1,))
    s.offer(1, False, Kind.COMMIT, now=1.02)
    assert set(s.take(now=1.02, streams=2, load=1.0).chunks) == {1, 2}


def test_chunks_get_their_turn_although_somebody_always_has_audio_to_judge() -> None:
    s = scheduler()
    s.offer(9, False, Kind.COMMIT, now=1.0)
    taken = []
    for stream in range(4):
        s.offer(stream, True, None, now=1.0)
        taken.append(s.take(now=1.1, streams=9, load=1.0))
        s.offer(9, False, Kind.COMMIT, now=1.1)
    assert [bool(batch.chunks) for batch in taken] == [False, True, False, True]


def test_a_full_batch_goes_at_once_and_takes_no_more_than_it_may() -> None:
    s = scheduler()
    for stream in range(6):
        s.offer(stream, False, Kind.COMMIT, now=1.0)
    assert len(s.take(now=1.0, streams=99, load=1.0).chunks) == 4
    assert not s.take(now=1.0, streams=99, load=1.0)  # the rest may still find company


def test_a_final_goes_before_chunks_and_chunks_before_previews() -> None:
    s = Scheduler(Policy(max_batch=3))
    s.offer(1, False, Kind.PREVIEW, now=0.0)
    s.offer(2, False, Kind.COMMIT, now=0.5)
    s.offer(3, False, Kind.FLUSH, now=0.6)
    assert s.take(now=0.6, streams=3).chunks == (3, 2, 1)


def test_a_file_sent_at_once_does_not_overtake_live_streams() -> None:
    s = Scheduler(Policy(max_batch=1, chunk_period_s=0.6))
    served = []
    upload, live = 1, 2
    for step in range(6):
        now = step * 0.1
        s.offer(upload, False, Kind.COMMIT, now)
        if step == 2:
            s.offer(live, False, Kind.COMMIT, now)
        served += s.take(now, streams=2).chunks
    assert served[3] == live  # right after the upload's chunk that was due before it came
    assert served.count(live) == 1


def test_alone_a_file_gets_every_step() -> None:
    s = scheduler()
    for step in range(5):
        s.offer(1, False, Kind.COMMIT, now=step * 0.01)
        assert s.take(now=step * 0.01, streams=1).chunks == (1,)


def test_no_stream_starves_behind_uploads() -> None:
    s = Scheduler(Policy(max_batch=1, chunk_period_s=0.6))
    s.offer(0, False, Kind.COMMIT, now=0.0)
    served: list[int] = []
    for step in range(40):
        now = step * 0.05
        for upload in range(1, 6):
            s.offer(upload, False, Kind.COMMIT, now)
        served += s.take(now, streams=6).chunks
    assert 0 in served[:7]


def test_previews_are_dropped_under_load_and_finals_are_not() -> None:
    s = scheduler()
    s.offer(1, False, Kind.PREVIEW, now=0.0)
    s.offer(2, False, Kind.FLUSH, now=0.0)
    assert s.take(now=1.0, streams=2, load=0.9) == Batch(chunks=(2,))
    assert s.dropped_previews == 1


def test_a_batch_tells_how_long_its_oldest_chunk_waited() -> None:
    s = scheduler()
    s.offer(1, False, Kind.COMMIT, now=0.0)
    s.offer(2, False, Kind.COMMIT, now=0.75)
    assert s.take(now=1.0, streams=2).waited_s == 1.0
    s.offer(1, True, None, now=1.0)
    assert s.take(now=2.0, streams=2).waited_s == 0.0


def test_work_that_is_no_longer_due_is_not_taken() -> None:
    s = scheduler()
    s.offer(1, True, Kind.PREVIEW, now=0.0)
    s.offer(1, False, None, now=0.0)
    assert s.wake_at() is None
    assert not s.take(now=9.0, streams=1)


def test_a_stream_that_left_is_not_taken() -> None:
    s = scheduler()
    s.offer(1, True, Kind.COMMIT, now=0.0)
    s.forget(1)
    assert not s.take(now=9.0, streams=1)


def test_offering_again_does_not_renew_the_wait() -> None:
    s = scheduler()
    s.offer(1, True, None, now=0.0)
    s.offer(1, True, None, now=0.015)
    assert s.take(now=0.02, streams=5, load=1.0) == Batch(judge=(1,))
