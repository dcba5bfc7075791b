import pytest
import torch
from parsl_optuna.tasks.lvae.axes import principal_axes, turn
from parsl_optuna.tasks.lvae.model import Decoder, encoder
from torch import Generator
from torch.nn import functional

ACTIVE = torch.tensor([True, False, True, True, True])


@pytest.fixture(params=[(12,), (1, 8, 8)], ids=["vectors", "images"])
def network(request):
    """Return encoder, decoder and Adam after a few steps on designs, and the designs."""
    torch.manual_seed(5)
    designs = torch.rand(40, *request.param)
    encode = encoder(5, request.param, 8)
    stream = Generator().manual_seed(6)
    decode = Decoder(5, request.param, 8, 1.0, bounded=True, unit_range=False, stream=stream)
    optimiser = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=1e-2)
    for _ in range(5):
        optimiser.zero_grad()
        functional.mse_loss(decode(encode(designs)), designs).backward()
        optimiser.step()
    return encode, decode.eval(), optimiser, designs


def turned(network):
    encode, decode, optimiser, designs = network
    rotation, std = principal_axes(encode(designs).detach(), ACTIVE)
    turn(encode, decode.first, optimiser, rotation)
    return rotation, std


def test_the_network_stays_the_same_function(network):
    encode, decode, _, designs = network
    before = decode(encode(designs))
    rotation, _ = turned(network)

    assert (rotation - torch.eye(5)).abs().max() > 0.1
    torch.testing.assert_close(decode(encode(designs)), before, rtol=1e-4, atol=1e-5)


def test_the_norm_of_the_first_layer_is_known_as_well_as_before(network):
    decode = network[1]
    before = float(decode.first.sigma.detach())
    turned(network)

    assert float(decode.first.sigma.detach()) == pytest.approx(before, rel=1e-5)


def test_active_codes_are_uncorrelated_with_the_smallest_first_and_others_as_they_were(network):
    encode, _, _, designs = network
    other = encode(designs)[:, 1]
    _, std = turned(network)
    codes = encode(designs).detach()
    covariance = torch.cov(codes[:, ACTIVE].T)

    torch.testing.assert_close(codes[:, 1], other.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(covariance, std.square().diag(), rtol=1e-3, atol=1e-6)
    assert std.tolist() == sorted(std.tolist())


def test_the_first_moments_turn_as_gradients_do(network):
    """A gradient taken before the turn, and turned, is that taken after it."""
    encode, decode, optimiser, designs = network
    weights = (encode[-1].weight, encode[-1].bias, decode.first.weight)

    def gradients():
        optimiser.zero_grad()
        functional.mse_loss(decode(encode(designs)), designs).backward()
        return [weight.grad.clone() for weight in (encode[-1].weight, encode[-1].bias, decode.first.weight)]

    before = gradients()
    for weight, gradient in zip(
        (encode[-1].weight, encode[-1].bias, decode.first.weight), before, strict=True
    ):
        optimiser.state[weight]["exp_avg"].copy_(gradient)
    turned(network)
    for weight, gradient in zip(weights, gradients(), strict=True):
        torch.testing.assert_close(optimiser.state[weight]["exp_avg"], gradient, rtol=1e-3, atol=1e-6)


def test_second_moments_stay_positive_and_keep_their_sum(network):
    encode, _, optimiser, _ = network
    moments = optimiser.state[encode[-1].weight]["exp_avg_sq"]
    before = float(moments.sum())
    turned(network)

    assert float(moments.min()) >= 0
    assert float(moments.sum()) == pytest.approx(before, rel=1e-4)
