import pytest
import torch
from parsl_optuna.tasks.lvae.judge import lipschitz
from parsl_optuna.tasks.lvae.model import Decoder, encoder
from torch import Generator


def decoder(shape, bound, *, unit_range, bounded=True):
    made = Decoder(
        6, shape, 8, bound, bounded=bounded, unit_range=unit_range, stream=Generator().manual_seed(1)
    )
    torch.manual_seed(0)
    with torch.no_grad():  # as training would leave them: not orthogonal any more
        for layer in made.layers:
            layer.weight.mul_(1 + torch.randn_like(layer.weight).abs())
            layer.bias.normal_(0, 0.1)
    made.eval()
    made.refine(500)
    return made


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 16, 16), (1, 32, 32), (5,)])
@pytest.mark.parametrize("bound", [1.0, 3.0])
@pytest.mark.parametrize("unit_range", [True, False])
def test_the_jacobian_stays_within_the_bound(shape, bound, unit_range):
    norm = lipschitz(decoder(shape, bound, unit_range=unit_range), 3 * torch.randn(16, 6))

    assert 0 < norm <= bound * 1.01


def test_without_the_bound_it_is_broken():
    assert lipschitz(decoder((5,), 1.0, unit_range=False, bounded=False), 3 * torch.randn(16, 6)) > 1.5


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 16, 16), (1, 64, 64), (1, 10, 10), (1, 24, 24), (1, 112, 112), (3,)]
)
def test_shapes_fit(shape):
    x = torch.zeros(4, *shape)
    codes = encoder(6, shape, 8)(x)

    assert codes.shape == (4, 6)
    assert decoder(shape, 1.0, unit_range=True)(codes).shape == x.shape
