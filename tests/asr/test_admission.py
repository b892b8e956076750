"""Check which streams are admitted, on simulated devices and simulated time."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.asr.admission import Admission

LIMIT_S = 0.100
TOLERATED_S = 0.200
"""p95 of the delay of a chunk; the limit is on the mean, and a batch more is 0.06 s here."""
PERIOD_S = 0.600


class Device:
    """Simulate steps one after another; a stream is due every 0.6 s, a step takes all that are due.

    With `lone_s` + (n - 1) * `each_s` for n chunks, `streams_held` is where the delay reaches the
    limit, found by running it.
    """

    def __init__(self, admission: Admission, lone_s: float, each_s: float) -> None:
        self.admission = admission
        self.lone_s, self.each_s = lone_s, each_s
        self.now = 0.0
        self.due: list[float] = []
        self.bulk = 0
        self.dice = random.Random(len(self.due))
        self.delays: list[float] = []
        """Delay of each live chunk."""

    def open(self) -> bool:
        """Open a stream that has speech soon, if it is admitted."""
        if not self.admission.admits(self.now, len(self.due)):
            return False
        self.due.append(self.now + self.dice.uniform(0.5, 1.5))  # until there is speech
        return True

    def run(self, seconds: float) -> None:
        """Simulate some seconds."""
        until = self.now + seconds
        while self.now < until:
            ready = [n for n, due in enumerate(self.due) if due <= self.now]
            chunks = len(ready) + self.bulk
            if not chunks:
                self.now = max(self.now, min(self.due, default=until))
                continue
            waited = max((self.now - self.due[n] for n in ready), default=0.0)
            took = self.lone_s + (chunks - 1) * self.each_s
            self.admission.decode_began(began := self.now, len(self.due))
            self.now += took
            self.admission.decode_ended(began, self.now, len(self.due), chunks, waited)
            for n in ready:
                self.delays.append(self.now - self.due[n])
                self.due[n] += PERIOD_S


def refusals(device: Device, per_second: float, seconds: float) -> int:
    """Return how many of the streams that open one after another are refused."""
    refused = 0
    for _ in range(int(per_second * seconds)):
        refused += not device.open()
        device.run(1 / per_second)
    return refused


DEVICES = [(0.010, 0.001), (0.020, 0.010), (0.008, 0.006), (0.030, 0.003)]


@pytest.mark.parametrize(("lone_s", "each_s"), DEVICES)
@pytest.mark.parametrize("per_second", [1, 5, 50])
def test_admitted_streams_are_never_late_whatever_the_arrival_rate(lone_s, each_s, per_second):
    device = Device(Admission(LIMIT_S, PERIOD_S), lone_s, each_s)
    refused = refusals(device, per_second, 600 / per_second if per_second > 1 else 600)
    assert refused
    device.delays.clear()
    device.run(10)
    assert np.quantile(device.delays, 0.95) <= TOLERATED_S


@pytest.mark.parametrize(("lone_s", "each_s"), DEVICES)
def test_the_device_is_well_utilised_before_a_stream_is_refused(lone_s, each_s):
    device = Device(Admission(LIMIT_S, PERIOD_S), lone_s, each_s)
    refusals(device, 1, 600)
    delay_if_all_were_admitted = lone_s / (1 - min(0.999, len(device.due) * each_s / PERIOD_S))
    assert (
        delay_if_all_were_admitted >= 0.25 * LIMIT_S or len(device.due) * each_s >= 0.5 * PERIOD_S
    )


@given(lone_ms=st.floats(1, 500), streams=st.integers(0, 3), slow_step_s=st.floats(0, 30))
def test_the_first_streams_are_admitted_however_slow_the_device(lone_ms, streams, slow_step_s):
    admission = Admission(LIMIT_S, PERIOD_S)
    for number in range(20):
        admission.decode_began(number * 40.0, streams)
        ended = number * 40.0 + slow_step_s + lone_ms / 1000
        admission.decode_ended(number * 40.0, ended, streams, 1, 0.0)
    assert admission.admits(800.0, streams)


def test_a_faster_than_realtime_stream_refuses_no_other():
    device = Device(Admission(LIMIT_S, PERIOD_S), 0.020, 0.002)
    device.bulk = 1
    assert refusals(device, 2, 40) == 0


def steps(admission: Admission, delay_s: float, begin: float) -> float:
    """Run steps of this duration; return when the last one ended."""
    for _ in range(100):
        admission.decode_began(begin, 20)
        admission.decode_ended(begin, begin := begin + delay_s, 20, 10, 0.0)
    return begin


def test_asking_whether_the_device_is_full_is_no_refusal():
    admission = Admission(LIMIT_S, PERIOD_S)
    now = steps(admission, 0.110, 0.0)
    assert admission.full(now, 20)
    now = steps(admission, 0.090, now)
    assert not admission.full(now, 20)
    assert admission.admits(now, 20)


def test_after_a_refusal_the_delay_must_fall_well_under_the_limit():
    admission = Admission(LIMIT_S, PERIOD_S)
    now = steps(admission, 0.090, 0.0)
    assert admission.admits(now, 20)
    now = steps(admission, 0.110, now)
    assert not admission.admits(now, 20)
    now = steps(admission, 0.090, now)
    assert not admission.admits(now, 20)
    now = steps(admission, 0.070, now)
    assert admission.admits(now, 20)


def test_an_idle_device_admits_again_within_seconds():
    admission = Admission(LIMIT_S, PERIOD_S)
    now = 0.0
    for _ in range(50):
        admission.decode_began(now, 100)
        admission.decode_ended(now, now := now + 1.0, 100, 64, 1.0)
    assert not admission.admits(now, 100)
    assert admission.admits(now + 10, 10)


def test_no_stream_is_admitted_while_a_step_hangs():
    admission = Admission(LIMIT_S, PERIOD_S)
    admission.decode_began(10.0, 5)
    assert admission.admits(10.05, 5)
    assert not admission.admits(10.5, 5)


def test_no_stream_is_admitted_while_the_vad_hangs_or_is_slow():
    admission = Admission(LIMIT_S, PERIOD_S)
    admission.vad_began(10.0)
    assert admission.admits(10.05, 5)
    assert not admission.admits(10.5, 5)
    admission.vad_ended(10.5, waited_s=0.0)
    now = 10.5
    for _ in range(100):
        admission.vad_began(now)
        admission.vad_ended(now := now + 0.05, waited_s=0.08)
    assert not admission.admits(now, 5)
    for _ in range(100):
        admission.vad_began(now)
        admission.vad_ended(now := now + 0.005, waited_s=0.005)
    assert admission.admits(now, 5)


def test_the_delay_of_an_idle_vad_decays():
    admission = Admission(LIMIT_S, PERIOD_S)
    now = 10.0
    for _ in range(100):
        admission.vad_began(now)
        admission.vad_ended(now := now + 0.3, waited_s=0.0)
    assert not admission.admits(now, 5)
    assert admission.admits(now + 10, 5)


def test_no_stream_is_admitted_while_decoders_of_live_audio_wait_for_a_processor():
    admission = Admission(LIMIT_S, PERIOD_S)
    assert admission.admits(0.0, 8)
    for tenth in range(50):
        admission.decoder_waited(tenth / 10, 2 * LIMIT_S)
    assert not admission.admits(5.0, 8)
    assert admission.delay(5.0, 8) == pytest.approx(2 * LIMIT_S, rel=0.1)
    assert admission.admits(20.0, 8)


def test_a_single_stall_does_not_shrink_the_burst_that_is_admitted():
    admission = Admission(LIMIT_S, PERIOD_S)
    for number, step_s in enumerate([0.001, 0.002, 5.0, 0.001, 0.002]):
        admission.decode_began(number * 10.0, 1)
        admission.decode_ended(number * 10.0, number * 10.0 + step_s, 1, 1, 0.0)
    assert all(admission.admits(80.0, streams) for streams in range(100))


def test_no_limit_is_no_limit():
    admission = Admission(0, PERIOD_S)
    admission.decode_began(0.0, 500)
    admission.decode_ended(0.0, 60.0, 500, 64, 30.0)
    assert admission.admits(60.0, 500)


def test_short_tasks_one_after_another_are_not_a_burst():
    """Forty streams of two seconds each: none is open for long, and none is refused."""
    device = Device(Admission(LIMIT_S, PERIOD_S), 0.010, 0.001)
    refused = []
    for _ in range(600):
        refused.append(not device.open())
        device.run(0.05)
        if len(device.due) >= 40:
            device.due.pop(0)
    assert not any(refused[200:])


def test_a_burst_on_an_idle_device_is_admitted_in_portions():
    admission = Admission(LIMIT_S, PERIOD_S)
    admitted = 0
    while admission.admits(0.0, admitted):
        admitted += 1
    assert 4 <= admitted <= 32


@pytest.mark.parametrize(
    ("workers", "step_s", "every_s", "expected"),
    [(1, 0.02, 0.04, 0.5), (2, 0.02, 0.04, 0.25), (1, 0.09, 0.10, 0.9)],
)
def test_utilisation_is_the_share_of_recent_time_spent_on_live_audio(
    workers, step_s, every_s, expected
):
    admission = Admission(LIMIT_S, PERIOD_S, workers)
    now = 100.0
    for _ in range(1000):
        admission.decode_began(now, 1)
        admission.decode_ended(now, now + step_s, 1, 1, 0.0)
        now += every_s
    assert admission.utilisation(now) == pytest.approx(expected, rel=0.1)
    assert admission.utilisation(now + 10) < 0.01


def test_a_long_step_counts_for_more_than_a_short_one():
    """A device that computes 0.9 s and then 1 ms every second is busy for 0.9 of the time."""
    admission = Admission(LIMIT_S, PERIOD_S)
    now = 100.0
    for _ in range(20):
        for begin, end in ((now, now + 0.9), (now + 0.999, now + 1.0)):
            admission.decode_began(begin, 1)
            admission.decode_ended(begin, end, 1, 1, 0.0)
        now += 1.0
    assert admission.utilisation(now) > 0.8


def test_faster_than_realtime_audio_does_not_count_as_utilisation():
    admission = Admission(LIMIT_S, PERIOD_S)
    admission.decode_began(100.0, 1)
    admission.decode_ended(100.0, 100.5, 1, 4, 0.0, live_share=0.0)
    assert admission.utilisation(100.5) == 0.0


def test_the_load_has_the_delay_of_a_usual_lone_step() -> None:
    admission = Admission(0.15, 0.6)
    assert admission.load(0.0, 0).lone_delay_s == 0.0
    for began, duration_s, chunks in ((0.0, 0.1, 1), (1.0, 0.1, 1), (2.0, 0.9, 1), (3.0, 0.5, 4)):
        admission.decode_began(began, 4)
        admission.decode_ended(began, began + duration_s, 4, chunks, waited_s=0.02)
    assert admission.load(4.0, 4).lone_delay_s == pytest.approx(0.12)


def test_previews_are_told_apart_from_chunks() -> None:
    admission = Admission(0.15, 0.6)
    for began in (0.0, 0.1, 0.2, 0.3):
        admission.decode_began(began, 4)
        admission.decode_ended(began, began + 0.1, 4, 4, 0.0, previews=3)
    load = admission.load(0.4, 4)
    assert load.utilisation > 0.3
    assert load.without_previews == pytest.approx(load.utilisation / 4)
    assert Admission(0.15, 0.6).load(0.0, 0).without_previews == 0.0
