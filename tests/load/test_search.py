"""The ramp finds what a server holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_server.load.search import binary, held, linear


def climb(plan, holds: int) -> dict[int, bool]:
    tried: dict[int, bool] = {}
    while (streams := plan(tried)) is not None:
        assert streams not in tried
        tried[streams] = streams <= holds
    return tried


@given(holds=st.integers(0, 600), first=st.integers(1, 40), most=st.integers(40, 512))
def test_doubling_and_halving_comes_within_a_twentieth(holds, first, most):
    tried = climb(lambda tried: binary(tried, first, most), holds)
    found = held(tried)
    assert found <= holds
    assert min(holds, most) - found <= max(1, 0.05 * holds + 1)
    assert len(tried) <= 20


@given(holds=st.integers(0, 100), step=st.integers(1, 20))
def test_even_steps_stop_at_the_first_that_breaks(holds, step):
    tried = climb(lambda tried: linear(tried, step, 80), holds)
    assert list(tried) == list(range(step, max(tried) + 1, step))
    assert list(tried.values()).count(False) <= 1
    assert held(tried) == min(holds, 80) // step * step


def test_more_than_what_broke_is_not_held_whatever_a_lucky_run_says():
    assert held({8: True, 16: False, 24: True}) == 8


@pytest.mark.parametrize("tried", [{}, {4: False}])
def test_nothing_held_is_zero(tried):
    assert held(tried) == 0
