"""The simulation of a fleet loses no stream and ranks policies as their headroom does."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fleet import POLICIES, Conditions, simulate, spread


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(0, 250))
def test_every_stream_goes_to_a_machine_with_the_fewest_or_is_refused(loads, arriving):
    before = np.array(loads)
    after, refused = spread(before.copy(), 9, arriving)
    assert after.sum() - before.sum() + refused == arriving
    assert (after >= before).all()
    assert after.max() <= 9
    assert not refused or after.min() == 9
    raised = after[after > before]
    if len(raised):
        assert raised.max() - after.min() <= 1


def test_more_headroom_refuses_less_and_costs_more():
    conditions = Conditions(3000, startup_s=600)
    roomy, narrow = (
        simulate(conditions, POLICIES[name])
        for name in ("70 % of the capacity", "85 % of the capacity")
    )
    assert roomy.refused < narrow.refused
    assert roomy.machine_hours > narrow.machine_hours
    assert narrow.utilization < 1


def test_without_failures_and_with_long_grace_nothing_is_cut():
    conditions = Conditions(300, failures_per_day=0.0, grace_s=86_400)
    assert simulate(conditions, POLICIES["85 % of the capacity"]).cut == 0
