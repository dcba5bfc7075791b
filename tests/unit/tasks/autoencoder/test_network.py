import pytest
import torch
from parsl_optuna.tasks.autoencoder.network import Autoencoder, masked_loss, sparse_loss, take_over

X = torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 0.2]])
FOUND = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.1, 0.0]])
ALL = torch.ones(2, 3, dtype=torch.bool)


def test_the_sparse_loss_is_the_hand_made_one():
    square = [0.25, 1.0, 0.0, 0.0, 0.01, 0.04]
    nonzero = (1.0 + 0.0 + 0.04) / 3

    assert float(sparse_loss(FOUND, X, ALL)) == pytest.approx(0.7 * nonzero + 0.3 * sum(square) / 6)
    assert float(sparse_loss(FOUND, torch.zeros(2, 3), ALL)) == pytest.approx(float(FOUND.square().mean()))


def test_the_masked_loss_does_not_see_what_is_missing():
    there = torch.tensor([[True, False, True], [True, True, True]])
    wild = X.clone()
    wild[0, 1] = 99.0

    assert float(masked_loss(FOUND, wild, there)) == pytest.approx((0.25 + 0.0 + 0.0 + 0.01 + 0.04) / 5)
    assert float(masked_loss(FOUND, X, torch.zeros_like(there))) == 0.0


def test_a_larger_network_starts_near_the_smaller_ones_function():
    torch.manual_seed(0)
    small, large, other = (Autoencoder(24, hidden, 3, 0.0) for hidden in ((8,), (8,), (16,)))
    x = torch.rand(50, 24)

    assert take_over(large, small.state_dict()) == len(small.state_dict())
    assert torch.equal(large(x), small(x))
    assert take_over(other, small.state_dict()) > 0
    assert take_over(small, other.state_dict()) < len(small.state_dict())


@pytest.mark.parametrize("centre", [None, (torch.zeros(24), torch.ones(24))])
def test_shapes_and_initial_values(centre):
    model = Autoencoder(24, (16, 8), 2, 0.1, centre)
    x = torch.rand(5, 24)

    assert model.encode(x).shape == (5, 2)
    assert model(x).shape == (5, 24)
    assert all(bool((one == 0).all()) for name, one in model.named_parameters() if name.endswith("bias"))
