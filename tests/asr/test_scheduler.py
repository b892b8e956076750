"""Who rides the next step."""

from asr_server.asr.batching import Batch, Offer, Policy, Scheduler, Strain
from asr_server.asr.types import Kind

POLICY = Policy(max_batch=4, max_wait_s=0.01, max_judge_wait_s=0.02, chunk_period_s=0.6)


def scheduler() -> Scheduler:
    return Scheduler(POLICY)


def ride(s: Scheduler, now: float, streams: int, strain: Strain | None = None) -> Batch:
    """Take chunks whose step takes no time."""
    batch = s.take_chunks(now, streams, strain)
    s.done(batch.streams)
    return batch


def judge(s: Scheduler, now: float, load: float = 0.0) -> Batch:
    """Take audio to be judged in no time."""
    batch = s.take_judge(now, load)
    s.done(batch.streams)
    return batch


def test_a_chunk_waits_for_company_only_as_long_as_it_may() -> None:
    s = scheduler()
    s.offer(1, Offer(chunk=Kind.COMMIT), now=1.0)
    assert not ride(s, now=1.005, streams=8, strain=Strain(1.0))
    assert s.chunks_at() == 1.01
    assert ride(s, now=1.01, streams=8, strain=Strain(1.0)) == Batch(chunks=(1,))


def test_the_less_there_is_to_do_the_shorter_is_the_wait() -> None:
    s = scheduler()
    s.offer(1, Offer(judge=True), now=1.0)
    assert not judge(s, now=1.004, load=0.5)
    assert s.judge_at() == 1.01
    assert judge(s, now=1.004, load=0.2) == Batch(judge=(1,))
    s.offer(1, Offer(chunk=Kind.PREVIEW), now=2.0)
    assert ride(s, now=2.0, streams=8, strain=Strain(0.0)) == Batch(chunks=(1,))


def test_nobody_waits_when_everybody_open_is_ready() -> None:
    s = scheduler()
    s.offer(1, Offer(chunk=Kind.COMMIT), now=1.0)
    s.offer(2, Offer(chunk=Kind.COMMIT), now=1.0)
    assert set(ride(s, now=1.0, streams=2).chunks) == {1, 2}


def test_audio_is_judged_while_chunks_of_others_are_computed() -> None:
    s = scheduler()
    s.offer(2, Offer(chunk=Kind.COMMIT), now=1.0)
    assert s.take_chunks(now=1.0, streams=2) == Batch(chunks=(2,))
    s.offer(1, Offer(judge=True), now=1.0)
    assert s.take_judge(now=1.0) == Batch(judge=(1,))


def test_audio_to_judge_makes_no_chunk_go_without_company() -> None:
    s = scheduler()
    s.offer(1, Offer(judge=True), now=0.0)
    s.offer(2, Offer(chunk=Kind.COMMIT), now=1.0)
    assert not ride(s, now=1.005, streams=9, strain=Strain(1.0))


def test_a_full_batch_goes_at_once_and_takes_no_more_than_it_may() -> None:
    s = scheduler()
    for stream in range(6):
        s.offer(stream, Offer(chunk=Kind.COMMIT), now=1.0)
    assert len(ride(s, now=1.0, streams=99, strain=Strain(1.0)).chunks) == 4
    assert not ride(s, now=1.0, streams=99, strain=Strain(1.0))  # the rest may still find company


def test_a_final_goes_before_chunks_and_chunks_before_previews() -> None:
    s = Scheduler(Policy(max_batch=3))
    s.offer(1, Offer(chunk=Kind.PREVIEW), now=0.0)
    s.offer(2, Offer(chunk=Kind.COMMIT), now=0.5)
    s.offer(3, Offer(chunk=Kind.FLUSH), now=0.6)
    assert ride(s, now=0.6, streams=3).chunks == (3, 2, 1)


def test_a_file_sent_at_once_does_not_overtake_live_streams() -> None:
    s = Scheduler(Policy(max_batch=1, chunk_period_s=0.6))
    served = []
    upload, live = 1, 2
    for step in range(6):
        now = step * 0.1
        s.offer(upload, Offer(chunk=Kind.FLUSH, live=False), now)
        if step == 2:
            s.offer(live, Offer(chunk=Kind.COMMIT), now)
        served += ride(s, now, streams=2).chunks
    assert served == [upload, upload, live, upload, upload, upload]


def test_files_are_few_in_a_step_while_anybody_speaks_and_fill_it_otherwise() -> None:
    files = range(10, 20)
    for speakers, expected in ((0, 8), (1, 2)):
        s = Scheduler(Policy(max_batch=8, max_uploads=2))
        for speaker in range(speakers):
            s.offer(speaker, Offer(), now=0.0)
        for file in files:
            s.offer(file, Offer(chunk=Kind.COMMIT, live=False), now=0.0)
        assert len(ride(s, now=1.0, streams=len(files) + speakers).chunks) == expected


def test_a_file_that_waited_for_long_goes_with_the_others() -> None:
    s = Scheduler(Policy(max_batch=1, max_upload_wait_s=3.0))
    s.offer(0, Offer(chunk=Kind.COMMIT, live=False), now=0.0)
    served: list[int] = []
    for step in range(10):
        s.offer(step + 1, Offer(chunk=Kind.COMMIT), now=step * 0.5)
        served += ride(s, step * 0.5, streams=9).chunks
    assert served[:7] == [1, 2, 3, 4, 5, 6, 0]


def test_the_end_of_a_task_does_not_wait_for_others_and_others_get_their_turn() -> None:
    s = Scheduler(Policy(max_batch=8))
    taken = []
    for step in range(4):
        for stream in range(3):
            s.offer(stream, Offer(chunk=Kind.COMMIT), now=0.0)
        s.offer(10 + step, Offer(chunk=Kind.FLUSH, ending=True), now=0.0)
        taken.append(ride(s, now=1.0 + step, streams=9).chunks)
    assert taken == [(10,), (11, 0, 1, 2), (12,), (13, 0, 1, 2)]


def test_the_end_of_a_task_does_not_wait_for_company() -> None:
    s = scheduler()
    s.offer(1, Offer(judge=True, ending=True), now=1.0)
    assert judge(s, now=1.0, load=1.0) == Batch(judge=(1,))
    s.offer(1, Offer(chunk=Kind.FLUSH, ending=True), now=1.0)
    assert ride(s, now=1.0, streams=9, strain=Strain(load=1.0)) == Batch(chunks=(1,))


def test_the_end_of_a_file_waits() -> None:
    s = Scheduler(Policy(max_batch=8))
    s.offer(1, Offer(chunk=Kind.FLUSH, ending=True, live=False), now=0.0)
    s.offer(2, Offer(chunk=Kind.COMMIT), now=0.0)
    assert ride(s, now=1.0, streams=2).chunks == (2, 1)


def test_the_share_of_live_audio_in_a_batch_is_told() -> None:
    s = scheduler()
    s.offer(1, Offer(chunk=Kind.COMMIT), now=0.0)
    for stream in (2, 3, 4):
        s.offer(stream, Offer(chunk=Kind.COMMIT, live=False), now=0.0)
    assert ride(s, now=1.0, streams=4).live == 0.25


def test_a_stream_rides_one_step_at_a_time() -> None:
    s = scheduler()
    s.offer(1, Offer(judge=True, chunk=Kind.COMMIT), now=0.0)
    s.offer(2, Offer(chunk=Kind.COMMIT), now=0.0)
    assert s.take_judge(now=1.0) == Batch(judge=(1,))
    assert s.take_chunks(now=1.0, streams=2) == Batch(chunks=(2,))
    assert s.chunks_at() is None
    assert not s.take_chunks(now=1.0, streams=2)
    s.offer(2, Offer(judge=True), now=1.0)  # of a stream that rides nothing is taken in
    assert s.judge_at() is None
    s.done((1, 2))
    assert s.take_chunks(now=1.0, streams=2) == Batch(chunks=(1,))


def test_what_is_there_is_divided_among_the_lanes() -> None:
    s = Scheduler(Policy(max_batch=4))
    for stream in range(5):
        s.offer(stream, Offer(chunk=Kind.COMMIT), now=0.0)
    assert len(s.take_chunks(now=1.0, streams=9, lanes=2, free_lanes=2).chunks) == 3
    assert len(s.take_chunks(now=1.0, streams=9, lanes=2, free_lanes=1).chunks) == 2


def test_no_lane_takes_nearly_everybody() -> None:
    def taken(lanes: int) -> int:
        s = Scheduler(Policy(max_batch=32))
        for stream in range(30):
            s.offer(stream, Offer(chunk=Kind.COMMIT), now=0.0)
        return len(s.take_chunks(now=1.0, streams=30, lanes=lanes, free_lanes=1).chunks)

    assert [taken(lanes) for lanes in (1, 2, 3)] == [30, 8, 6]


def test_alone_a_file_gets_every_step() -> None:
    s = scheduler()
    for step in range(5):
        s.offer(1, Offer(chunk=Kind.COMMIT), now=step * 0.01)
        assert ride(s, now=step * 0.01, streams=1).chunks == (1,)


def test_no_stream_starves_behind_uploads() -> None:
    s = Scheduler(Policy(max_batch=1, chunk_period_s=0.6))
    s.offer(0, Offer(chunk=Kind.COMMIT), now=0.0)
    served: list[int] = []
    for step in range(40):
        now = step * 0.05
        for upload in range(1, 6):
            s.offer(upload, Offer(chunk=Kind.COMMIT), now)
        served += ride(s, now, streams=6).chunks
    assert 0 in served[:7]


def test_previews_are_dropped_under_load_and_finals_are_not() -> None:
    s = scheduler()
    s.offer(1, Offer(chunk=Kind.PREVIEW), now=0.0)
    s.offer(2, Offer(chunk=Kind.FLUSH), now=0.0)
    assert ride(s, now=1.0, streams=2, strain=Strain(0.9)) == Batch(chunks=(2,))
    assert s.dropped_previews == 1


def test_under_load_the_previews_go_on_that_bring_the_first_text() -> None:
    def previews(strain: Strain) -> tuple[int, ...]:
        s = scheduler()
        s.offer(1, Offer(chunk=Kind.PREVIEW), now=0.0)
        s.offer(2, Offer(chunk=Kind.PREVIEW, awaited=True), now=0.0)
        return ride(s, now=1.0, streams=2, strain=strain).chunks

    assert previews(Strain(load=0.5, delay_s=0.5)) == (1, 2)
    assert previews(Strain(load=0.9, delay_s=0.1)) == (2,)
    assert previews(Strain(load=0.9, delay_s=0.2)) == ()  # too late to be early


def test_a_batch_tells_how_long_its_oldest_work_waited() -> None:
    s = scheduler()
    s.offer(1, Offer(chunk=Kind.COMMIT), now=0.0)
    s.offer(2, Offer(chunk=Kind.COMMIT), now=0.75)
    assert ride(s, now=1.0, streams=2).waited_s == 1.0
    s.offer(1, Offer(judge=True), now=1.0)
    assert judge(s, now=2.5).waited_s == 1.5
    s.offer(3, Offer(judge=True, live=False), now=3.0)
    s.offer(4, Offer(judge=True), now=5.0)
    assert judge(s, now=6.0).waited_s == 1.0  # of a file nobody waits for the next word


def test_work_that_is_no_longer_due_is_not_taken() -> None:
    s = scheduler()
    s.offer(1, Offer(judge=True, chunk=Kind.PREVIEW), now=0.0)
    s.offer(1, Offer(), now=0.0)
    assert s.judge_at() is s.chunks_at() is None
    assert not ride(s, now=9.0, streams=1)
    assert not judge(s, now=9.0)


def test_a_stream_that_left_is_not_taken() -> None:
    s = scheduler()
    s.offer(1, Offer(judge=True, chunk=Kind.COMMIT), now=0.0)
    s.forget(1)
    assert not ride(s, now=9.0, streams=1)
    assert not judge(s, now=9.0)


def test_offering_again_does_not_renew_the_wait() -> None:
    s = scheduler()
    s.offer(1, Offer(judge=True), now=0.0)
    s.offer(1, Offer(judge=True), now=0.015)
    assert judge(s, now=0.02, load=1.0) == Batch(judge=(1,))
