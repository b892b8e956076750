"""Check which streams form the next batch."""

import pytest

from asr_server.asr import batching
from asr_server.asr.batching import Batch, DecodeQueue, Load, StreamStatus, VadQueue
from asr_server.asr.types import Kind

LIVE = StreamStatus()
BULK = StreamStatus(live=False)
ENDING = StreamStatus(ending=True)
BUSY = Load(utilisation=1.0)
IDLE = Load()


class Queues:
    """Hold both queues over one set of streams in flight; steps take no time unless said."""

    def __init__(self, max_batch: int = 4) -> None:
        self.in_flight: set[int] = set()
        self.vad = VadQueue(self.in_flight)
        self.decode = DecodeQueue(
            self.in_flight, max_batch, max_batching_delay_s=0.01, chunk_period_s=0.6
        )

    def windows(self, stream: int, now: float, status: StreamStatus = LIVE) -> None:
        """Offer VAD windows."""
        self.vad.offer(stream, True, status, now)

    def chunk(
        self, stream: int, now: float, kind: Kind = Kind.COMMIT, status: StreamStatus = LIVE
    ) -> None:
        """Offer a chunk."""
        self.decode.offer(stream, kind, status, now)

    def detect(self, now: float, utilisation: float = 0.0) -> Batch:
        """Run a VAD step."""
        batch = self.vad.take(now, utilisation)
        self.in_flight.difference_update(batch.streams)
        return batch

    def step(self, now: float, streams: int, load: Load = IDLE) -> tuple[int, ...]:
        """Run a decode step."""
        batch = self.decode.take(now, streams, load)
        self.in_flight.difference_update(batch.streams)
        return batch.streams


def test_a_chunk_waits_at_most_the_batching_delay() -> None:
    queues = Queues()
    queues.chunk(1, now=1.0)
    assert not queues.step(now=1.005, streams=8, load=BUSY)
    assert queues.decode.due_at(BUSY.utilisation) == 1.01
    assert queues.step(now=1.01, streams=8, load=BUSY) == (1,)


def test_the_batching_delay_is_scaled_by_utilisation() -> None:
    queues = Queues()
    queues.windows(1, now=1.0)
    assert not queues.detect(now=1.004, utilisation=0.5)
    assert queues.vad.due_at(0.25) == 1.01
    assert queues.detect(now=1.004, utilisation=0.1).streams == (1,)
    queues.chunk(1, now=2.0, kind=Kind.PREVIEW)
    assert queues.step(now=2.0, streams=8) == (1,)


def test_a_batch_goes_at_once_when_all_open_streams_are_ready() -> None:
    queues = Queues()
    queues.chunk(1, now=1.0)
    queues.chunk(2, now=1.0)
    assert set(queues.step(now=1.0, streams=2, load=BUSY)) == {1, 2}


def test_vad_runs_while_chunks_of_other_streams_are_decoded() -> None:
    queues = Queues()
    queues.chunk(2, now=1.0)
    assert queues.decode.take(1.0, 2, IDLE).streams == (2,)
    queues.windows(1, now=1.0)
    assert queues.vad.take(1.0, 0.0).streams == (1,)


def test_vad_windows_do_not_shorten_the_batching_delay_of_chunks() -> None:
    queues = Queues()
    queues.windows(1, now=0.0)
    queues.chunk(2, now=1.0)
    assert not queues.step(now=1.005, streams=9, load=BUSY)


def test_a_full_batch_goes_at_once_and_is_no_larger_than_the_maximum() -> None:
    queues = Queues()
    for stream in range(6):
        queues.chunk(stream, now=1.0)
    assert len(queues.step(now=1.0, streams=99, load=BUSY)) == 4
    assert not queues.step(now=1.0, streams=99, load=BUSY)  # the rest may still be joined


def test_finals_go_before_chunks_and_chunks_before_previews() -> None:
    queues = Queues(max_batch=3)
    queues.chunk(1, now=0.0, kind=Kind.PREVIEW)
    queues.chunk(2, now=0.5)
    queues.chunk(3, now=0.6, kind=Kind.FLUSH)
    assert queues.step(now=0.6, streams=3) == (3, 2, 1)


def test_a_bulk_stream_does_not_overtake_live_streams() -> None:
    queues = Queues(max_batch=1)
    served: list[int] = []
    bulk, live = 1, 2
    for step in range(6):
        now = step * 0.1
        queues.chunk(bulk, now, Kind.FLUSH, BULK)
        if step == 2:
            queues.chunk(live, now)
        served += queues.step(now, streams=2)
    assert served == [bulk, bulk, live, bulk, bulk, bulk]


@pytest.mark.parametrize(("live_streams", "expected"), [(0, 8), (1, 4)])
def test_bulk_streams_fill_a_batch_only_without_live_streams(
    live_streams: int, expected: int
) -> None:
    queues = Queues(max_batch=8)
    for stream in range(live_streams):
        queues.decode.offer(stream, None, LIVE, now=0.0)
    for stream in range(10, 20):
        queues.chunk(stream, now=0.0, status=BULK)
    assert len(queues.step(now=1.0, streams=10 + live_streams)) == expected


def test_a_bulk_chunk_that_waited_long_is_ordered_like_a_live_one() -> None:
    queues = Queues(max_batch=1)
    queues.chunk(0, now=0.0, status=BULK)
    served: list[int] = []
    for step in range(10):
        queues.chunk(step + 1, now=step * 0.5)
        served += queues.step(step * 0.5, streams=9)
    assert served[:7] == [1, 2, 3, 4, 5, 6, 0]


def test_every_second_batch_holds_only_streams_that_are_ending() -> None:
    queues = Queues(max_batch=8)
    taken = []
    for step in range(4):
        for stream in range(3):
            queues.chunk(stream, now=0.0)
        queues.chunk(10 + step, now=0.0, kind=Kind.FLUSH, status=ENDING)
        taken.append(queues.step(now=1.0 + step, streams=9))
    assert taken == [(10,), (11, 0, 1, 2), (12,), (13, 0, 1, 2)]


def test_a_stream_that_is_ending_skips_the_batching_delay() -> None:
    queues = Queues()
    queues.windows(1, now=1.0, status=ENDING)
    assert queues.detect(now=1.0, utilisation=1.0).streams == (1,)
    queues.chunk(1, now=1.0, kind=Kind.FLUSH, status=ENDING)
    assert queues.step(now=1.0, streams=9, load=BUSY) == (1,)


def test_a_bulk_stream_that_is_ending_has_no_priority() -> None:
    queues = Queues(max_batch=8)
    queues.chunk(1, now=0.0, kind=Kind.FLUSH, status=StreamStatus(live=False, ending=True))
    queues.chunk(2, now=0.0)
    assert queues.step(now=1.0, streams=2) == (2, 1)


def test_a_batch_reports_its_share_of_live_audio() -> None:
    queues = Queues()
    queues.chunk(1, now=0.0)
    for stream in (2, 3, 4):
        queues.chunk(stream, now=0.0, status=BULK)
    assert queues.decode.take(1.0, 4, IDLE).live_share == 0.25


def test_a_stream_is_in_one_step_at_a_time() -> None:
    queues = Queues()
    queues.windows(1, now=0.0)
    queues.chunk(1, now=0.0)
    queues.chunk(2, now=0.0)
    assert queues.vad.take(1.0, 0.0).streams == (1,)
    assert queues.decode.take(1.0, 2, IDLE).streams == (2,)
    assert queues.decode.due_at(0.0) is None
    assert not queues.decode.take(1.0, 2, IDLE)
    queues.windows(2, now=1.0)  # an offer of a stream in flight is ignored
    assert queues.vad.due_at(0.0) is None
    queues.in_flight.clear()
    assert queues.decode.take(1.0, 2, IDLE).streams == (1,)


@pytest.mark.parametrize(("free", "expected"), [(2, 3), (1, 4)])
def test_waiting_chunks_are_divided_among_the_free_workers(free: int, expected: int) -> None:
    queues = Queues()
    for stream in range(5):
        queues.chunk(stream, now=0.0)
    batch = queues.decode.take(1.0, streams=15, load=IDLE, workers=2, free_workers=free)
    assert len(batch.streams) == expected


@pytest.mark.parametrize(("workers", "expected"), [(1, 30), (2, 8), (3, 6)])
def test_no_worker_takes_nearly_all_streams(workers: int, expected: int) -> None:
    queues = Queues(max_batch=32)
    for stream in range(30):
        queues.chunk(stream, now=0.0)
    assert len(queues.decode.take(1.0, 30, IDLE, workers, 1).streams) == expected


def test_a_single_stream_gets_every_step() -> None:
    queues = Queues()
    for step in range(5):
        queues.chunk(1, now=step * 0.01)
        assert queues.step(now=step * 0.01, streams=1) == (1,)


def test_no_stream_starves() -> None:
    queues = Queues(max_batch=1)
    queues.chunk(0, now=0.0)
    served: list[int] = []
    for step in range(40):
        now = step * 0.05
        for other in range(1, 6):
            queues.chunk(other, now)
        served += queues.step(now, streams=6)
    assert 0 in served[:7]


def test_previews_are_dropped_under_load_and_finals_are_not() -> None:
    queues = Queues()
    queues.chunk(1, now=0.0, kind=Kind.PREVIEW)
    queues.chunk(2, now=0.0, kind=Kind.FLUSH)
    assert queues.step(now=1.0, streams=2, load=Load(0.9, 0.2)) == (2,)
    assert queues.decode.dropped_previews == 1


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (Load(utilisation=0.5, delay_s=0.5), (1, 2)),
        (Load(utilisation=0.9, delay_s=0.1), (2,)),
        (Load(utilisation=0.9, delay_s=0.2), ()),  # too late to bring the first text earlier
    ],
)
def test_previews_that_bring_the_first_text_are_dropped_last(
    load: Load, expected: tuple[int, ...]
) -> None:
    queues = Queues()
    queues.chunk(1, now=0.0, kind=Kind.PREVIEW)
    queues.chunk(2, now=0.0, kind=Kind.PREVIEW, status=StreamStatus(no_text_yet=True))
    assert queues.step(now=1.0, streams=2, load=load) == expected


def test_a_batch_reports_how_long_its_oldest_live_work_waited() -> None:
    queues = Queues()
    queues.chunk(1, now=0.0)
    queues.chunk(2, now=0.75)
    assert queues.decode.take(1.0, 2, IDLE).waited_s == 1.0
    queues.in_flight.clear()
    queues.windows(1, now=1.0)
    assert queues.detect(now=2.5).waited_s == 1.5
    queues.windows(3, now=3.0, status=BULK)
    queues.windows(4, now=5.0)
    assert queues.detect(now=6.0).waited_s == 1.0


def test_work_that_is_no_longer_due_is_not_taken() -> None:
    queues = Queues()
    queues.windows(1, now=0.0)
    queues.chunk(1, now=0.0, kind=Kind.PREVIEW)
    queues.vad.offer(1, False, LIVE, now=0.0)
    queues.decode.offer(1, None, LIVE, now=0.0)
    assert queues.vad.due_at(0.0) is queues.decode.due_at(0.0) is None
    assert not queues.step(now=9.0, streams=1)
    assert not queues.detect(now=9.0)


def test_a_closed_stream_is_not_taken() -> None:
    queues = Queues()
    queues.windows(1, now=0.0)
    queues.chunk(1, now=0.0)
    queues.vad.withdraw(1)
    queues.decode.withdraw(1)
    assert not queues.step(now=9.0, streams=1)
    assert not queues.detect(now=9.0)


def test_offering_again_does_not_renew_the_wait() -> None:
    queues = Queues()
    queues.windows(1, now=0.0)
    queues.windows(1, now=batching.MAX_VAD_DELAY_S - 0.005)
    assert queues.detect(now=batching.MAX_VAD_DELAY_S, utilisation=1.0).streams == (1,)


def test_a_batch_limit_is_never_raised_again() -> None:
    queues = Queues(max_batch=8)
    queues.decode.limit_batch(2)
    queues.decode.limit_batch(4)
    for stream in range(8):
        queues.chunk(stream, now=0.0)
    assert len(queues.step(now=1.0, streams=8)) == 2
