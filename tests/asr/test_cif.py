"""Vectorised integrate-and-fire against the loop it replaces."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from asr_server.asr.nn.cif import Fired, integrate_and_fire

SIZE = 3


def fire_by_loop(
    hidden: Tensor, weights: Tensor, rest_hidden: Tensor, rest_weight: float, tail: float
) -> tuple[list[Tensor], float, Tensor]:
    """One row as CIF is defined (Dong & Xu 2020, algorithm 1)."""
    frames = [(rest_weight, rest_hidden), *zip(weights.tolist(), hidden, strict=True)]
    frames.append((tail, torch.zeros(SIZE)))
    integral, embedding, fired = 0.0, torch.zeros(SIZE), []
    for weight, frame in frames:
        if integral + weight < 1.0:
            integral += weight
            embedding = embedding + weight * frame
        else:
            fired.append(embedding + (1.0 - integral) * frame)
            integral += weight - 1.0
            embedding = integral * frame
    return fired, integral, embedding / integral if integral > 0 else embedding


def run(weights: list[list[float]], rest: list[float], tail: list[float]) -> tuple[Fired, Tensor]:
    torch.manual_seed(len(weights) * 7 + len(weights[0]))
    hidden = torch.randn(len(weights), len(weights[0]), SIZE)
    rest_hidden = torch.ones(len(weights), SIZE)
    fired = integrate_and_fire(
        hidden, torch.tensor(weights), rest_hidden, torch.tensor(rest), torch.tensor(tail), 1.0
    )
    return fired, hidden


# Not a multiple of 1/64 but close to none, so that no integral meets a whole number by rounding.
weight = st.integers(0, 60).map(lambda n: n / 64 + 0.0037)


@given(
    st.integers(1, 12).flatmap(
        lambda frames: st.lists(
            st.tuples(
                st.lists(weight, min_size=frames, max_size=frames),
                weight,
                st.sampled_from([0.0, 0.45]),
            ),
            min_size=1,
            max_size=5,
        )
    )
)
def test_every_row_fires_what_the_loop_fires(
    rows: list[tuple[list[float], float, float]],
) -> None:
    fired, hidden = run([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
    for row, (weights, rest, tail) in enumerate(rows):
        expected, rest_weight, rest_hidden = fire_by_loop(
            hidden[row], torch.tensor(weights), torch.ones(SIZE), rest, tail
        )
        assert int(fired.counts[row]) == len(expected)
        for token, embedding in enumerate(expected):
            torch.testing.assert_close(fired.embeddings[row, token], embedding)
        assert float(fired.rest_weight[row]) == pytest.approx(rest_weight, abs=1e-5)
        if rest_weight > 1e-3:
            torch.testing.assert_close(fired.rest_hidden[row], rest_hidden, atol=1e-3, rtol=1e-3)


def test_a_token_fires_where_its_weight_is_full() -> None:
    fired, _ = run([[0.5, 0.5, 0.25, 0.75, 0.0]], [0.5], [0.0])
    assert fired.counts.tolist() == [2]
    # Half a frame's weight fills the rest in frame 0; 1.0 more is reached in frame 3.
    assert fired.fired_at[0].tolist() == pytest.approx([1.0, 3.0 + 0.25 / 0.75])


def test_no_weight_fires_nothing_and_keeps_the_rest() -> None:
    fired, _ = run([[0.0, 0.0]], [0.75], [0.0])
    assert fired.counts.tolist() == [0]
    assert fired.embeddings.shape == (1, 0, SIZE)
    assert fired.rest_weight.tolist() == [0.75]
    assert fired.rest_hidden[0].tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_a_fixed_number_of_tokens_changes_nothing_but_the_padding() -> None:
    torch.manual_seed(1)
    weights, hidden = torch.rand(4, 15), torch.randn(4, 15, SIZE)
    inputs = (hidden, weights, torch.randn(4, SIZE), torch.rand(4), torch.zeros(4), 1.0)
    exact, roomy = integrate_and_fire(*inputs), integrate_and_fire(*inputs, max_tokens=17)
    most = int(exact.counts.max())
    assert roomy.embeddings.shape == (4, 17, SIZE)
    assert not roomy.embeddings[:, most:].any()
    assert torch.equal(exact.token_mask, roomy.token_mask[:, :most])
    for name in ("counts", "rest_weight", "rest_hidden"):
        torch.testing.assert_close(getattr(roomy, name), getattr(exact, name))
    torch.testing.assert_close(roomy.embeddings[:, :most], exact.embeddings)
    torch.testing.assert_close(roomy.fired_at[:, :most], exact.fired_at)


def test_weights_that_are_not_numbers_fire_no_more_tokens_than_there_is_room_for() -> None:
    weights = torch.tensor([[float("nan")] * 5, [1.0] * 5])
    hidden, nothing = torch.ones(2, 5, SIZE), torch.zeros(2)
    fired = integrate_and_fire(hidden, weights, hidden[:, 0], nothing, nothing, 1.0, max_tokens=4)
    assert 0 <= fired.counts[0] <= 4
    assert fired.counts[1] == 4


def test_the_tail_fires_only_a_token_that_is_almost_full() -> None:
    fired, _ = run([[0.6], [0.5]], [0.0, 0.0], [0.45, 0.45])
    assert fired.counts.tolist() == [1, 0]
