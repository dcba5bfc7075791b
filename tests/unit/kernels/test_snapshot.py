from typing import NamedTuple

import torch
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.kernels.snapshot import dumps, loads, rebuild


class Inner(NamedTuple):
    mean: torch.Tensor
    count: int


class Outer(NamedTuple):
    inner: Inner
    name: str | None


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_plain_values_come_back(tree):
    assert loads(dumps(tree)) == tree


def test_tensors_come_back_bit_for_bit():
    for tensor in (
        torch.randn(2, 3, dtype=torch.float64),
        torch.tensor([float("nan"), float("inf")]),
        torch.zeros(0, 0).bool(),
        torch.Generator().manual_seed(1).get_state(),
        torch.tensor(3.5),
    ):
        back = loads(dumps({"x": [tensor]}))["x"][0]
        assert back.dtype == tensor.dtype
        assert back.shape == tensor.shape
        assert back.numpy().tobytes() == tensor.numpy().tobytes()


def test_named_tuples_get_their_names_back():
    state = Outer(Inner(torch.ones(2), 3), None)

    back, number = rebuild((state, 1), loads(dumps((state, 1))))

    assert number == 1
    assert isinstance(back, Outer)
    assert isinstance(back.inner, Inner)
    assert back.inner.count == 3
    assert torch.equal(back.inner.mean, state.inner.mean)


def test_what_lay_on_the_cpu_stays_there_whatever_the_device_of_the_rest():
    assert loads(dumps([torch.ones(2)]), "meta")[0].device.type == "cpu"
