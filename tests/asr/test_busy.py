"""How busy the device is."""

import pytest

from asr_server.asr.busy import BusyShare


@pytest.mark.parametrize(
    ("lanes", "step_s", "every_s", "expected"),
    [
        (1, 0.02, 0.04, 0.5),
        (2, 0.02, 0.04, 0.25),
        (1, 0.09, 0.10, 0.9),
    ],
)
def test_it_is_the_share_of_time_that_was_computed(lanes, step_s, every_s, expected):
    busy = BusyShare(lanes)
    now = 100.0
    for _ in range(1000):
        now += every_s
        busy.add(now, step_s)
    assert busy.at(now) == pytest.approx(expected, rel=0.1)


def test_a_long_step_counts_for_longer_than_a_short_one():
    """The mean over steps of 1 ms, busy, and one of 1 s, idle but for 1 ms, is not a half."""
    busy = BusyShare()
    now = 100.0
    for _ in range(20):
        busy.add(now := now + 0.9, 0.9)
        busy.add(now := now + 0.1, 0.001)
    assert busy.at(now) > 0.8


def test_what_was_long_ago_does_not_count():
    busy = BusyShare()
    busy.add(100.0, 5.0)
    assert busy.at(100.0) == 1.0
    assert busy.at(110.0) < 0.01
