"""8-bit linear layers, and layers with packed weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_server.asr.loading import quantise as quantise_module
from asr_server.asr.loading.packing import PackedLinear, can_pack, pack
from asr_server.asr.loading.quantise import Int8Linear, largest_weight, quantise
from asr_server.asr.nn.sanm import FeedForward


@given(
    inputs=st.integers(8, 70),
    outputs=st.integers(8, 70),
    rows=st.integers(1, 40),
    bias=st.booleans(),
)
def test_a_quantised_layer_is_as_close_as_rounding_allows(
    inputs: int, outputs: int, rows: int, bias: bool
) -> None:
    torch.manual_seed(inputs * outputs + rows)
    linear = torch.nn.Linear(inputs, outputs, bias=bias)
    x = torch.randn(rows, inputs) * torch.rand(rows, 1) * 100
    with torch.inference_mode():
        exact, ours = linear(x), Int8Linear(linear)(x)
        # Half a step of each factor, times the other factor.
        half_x = x.abs().amax(1, keepdim=True) / 254  # (rows, 1)
        half_w = linear.weight.abs().amax(1) / 2 / largest_weight(x.device)  # (outputs,)
        size_x, size_w = x.abs().sum(1, keepdim=True), linear.weight.abs().sum(1)
        bound = half_x * size_w + half_w * size_x + inputs * half_x * half_w
    assert bool(((exact - ours).abs() <= bound * 1.01 + 1e-4).all())


@given(inputs=st.integers(8, 70), outputs=st.integers(8, 70), rows=st.integers(1, 40))
def test_an_input_without_signs_has_steps_half_as_large(
    inputs: int, outputs: int, rows: int
) -> None:
    if not can_pack(torch.device("cpu"), torch.int8):
        pytest.skip("the products of this processor take signed numbers only")
    torch.manual_seed(inputs * outputs + rows)
    linear = torch.nn.Linear(inputs, outputs)
    x = torch.randn(rows, inputs).relu_() * torch.rand(rows, 1) * 100
    with torch.inference_mode():
        exact, ours = linear(x), Int8Linear(linear, positive=True)(x)
        half_x = x.amax(1, keepdim=True) / 510  # (rows, 1)
        half_w = linear.weight.abs().amax(1) / 2 / largest_weight(x.device)  # (outputs,)
        size_x, size_w = x.sum(1, keepdim=True), linear.weight.abs().sum(1)
        bound = half_x * size_w + half_w * size_x + inputs * half_x * half_w
    assert bool(((exact - ours).abs() <= bound * 1.01 + 1e-4).all())


@pytest.mark.parametrize("positive", [False, True])
def test_a_row_does_not_depend_on_the_others_of_its_batch(positive: bool) -> None:
    layer = Int8Linear(torch.nn.Linear(32, 16), positive)
    x = torch.rand(5, 7, 32) if positive else torch.randn(5, 7, 32)
    x[3] *= 1e4
    with torch.inference_mode():
        together = layer(x)
        for row in range(5):
            assert torch.equal(together[row], layer(x[row]))


@pytest.mark.parametrize("positive", [False, True])
def test_a_row_of_zeros_gives_the_bias(positive: bool) -> None:
    linear = torch.nn.Linear(8, 4)
    with torch.inference_mode():
        assert torch.equal(Int8Linear(linear, positive)(torch.zeros(2, 8))[0], linear.bias)


@pytest.mark.parametrize("positive", [False, True])
def test_a_nan_spoils_its_own_row_and_no_other(positive: bool) -> None:
    layer = Int8Linear(torch.nn.Linear(8, 4), positive)
    x = torch.zeros(2, 8)
    x[0, 3] = torch.nan
    with torch.inference_mode():
        y = layer(x)
    assert bool(y[0].isnan().all())
    assert bool(y[1].isfinite().all())


@pytest.mark.parametrize("packed", [True, False])
def test_a_quantised_feed_forward_is_close_to_the_plain_one(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if packed and not can_pack(torch.device("cpu"), torch.int8):
        pytest.skip("oneDNN has no layouts of its own here")
    monkeypatch.setattr(quantise_module, "can_pack", lambda *_: packed)
    torch.manual_seed(0)
    module = torch.nn.Sequential(FeedForward(64, 256))
    x = torch.randn(30, 15, 64)
    with torch.inference_mode():
        exact = module(x)
        quantise(module)
        assert (module(x) - exact).norm() < 0.02 * exact.norm()


def test_both_kinds_of_products_are_equal_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_pack(torch.device("cpu"), torch.int8):
        pytest.skip("oneDNN has no layouts of its own here")
    linear = torch.nn.Linear(70, 40)
    packed = Int8Linear(linear)
    largest = largest_weight(linear.weight.device)
    monkeypatch.setattr(quantise_module, "can_pack", lambda *_: False)
    monkeypatch.setattr(quantise_module, "largest_weight", lambda _: largest)
    plain = Int8Linear(linear)
    x = torch.randn(30, 70) * torch.logspace(-6, 6, 30)[:, None]
    with torch.inference_mode():
        assert torch.equal(packed(x), plain(x))


def test_no_sum_overflows_where_all_products_are_the_largest() -> None:
    linear = torch.nn.Linear(512, 2, bias=False)
    torch.nn.init.constant_(linear.weight, 0.5)
    linear.weight.data[1].neg_()
    with torch.inference_mode():
        for x in (torch.ones(3, 512), -torch.ones(3, 512)):
            torch.testing.assert_close(Int8Linear(linear)(x), linear(x))
        positive = Int8Linear(linear, positive=True)
        torch.testing.assert_close(positive(torch.ones(3, 512)), linear(torch.ones(3, 512)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 15, 480])
def test_a_packed_layer_gives_what_the_plain_one_gives(dtype: torch.dtype, rows: int) -> None:
    if not can_pack(torch.device("cpu"), dtype):
        pytest.skip("oneDNN has no layouts of its own here")
    module = torch.nn.ModuleList([torch.nn.Linear(70, 40), torch.nn.Linear(70, 40, bias=False)])
    module.to(dtype)
    x = torch.randn(rows, 2, 70, dtype=dtype)
    with torch.inference_mode():
        expected = [layer(x) for layer in module]
        pack(module)
        for layer, one in zip(module, expected, strict=True):
            assert isinstance(layer, PackedLinear)
            torch.testing.assert_close(layer(x), one)


def test_layers_to_skip_stay_plain() -> None:
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    quantise(module, skip=frozenset({"b"}))
    assert isinstance(module["a"], Int8Linear)
    assert isinstance(module["b"], torch.nn.Linear)
