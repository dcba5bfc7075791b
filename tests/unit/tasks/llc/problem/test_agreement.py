"""A loss in float32 beside the same in float64."""

import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.agreement import check_precision
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.pose import pose
from parsl_optuna.tasks.llc.problem.selection import select, sizes
from torch import nn

STREAM = torch.Generator().manual_seed(1)
X = torch.randn(200, 8, generator=STREAM)
CLASSES = X[:, :3].argmax(1)


def both(model):
    loss, data, selection = nn.CrossEntropyLoss(), read((X, CLASSES)), select(model)
    exact = pose(model, loss, data, selection, torch.float64)
    single = pose(model, loss, data, selection, torch.float32, is_verified=True)
    return (exact.loss, exact.weights), (single.loss, single.weights), sizes(model, selection)


@pytest.mark.parametrize("scale", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_network_whose_loss_has_vanished_is_the_same_in_both(seed, scale):
    """Its loss and slopes are lost in rounding, close to its weights."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(X), CLASSES).backward()
        optimiser.step()
    with torch.no_grad():
        model[-1].weight.mul_(scale)

    check_precision(*both(model))


class Half(torch.autograd.Function):
    """The square of its input, of whose gradient single precision loses a half."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x * (1.0 if x.dtype == torch.float32 else 2.0)


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)

    def forward(self, x):
        return Half.apply(self.inner(x))


def test_a_gradient_that_is_another_one_in_float32_is_told():
    torch.manual_seed(0)

    with pytest.raises(SpecError, match="its gradient is off by 50% of that in float64; take precision="):
        check_precision(*both(Halves()))


class HalfOfOne(nn.Module):
    """Of the last of three layers single precision has half the gradient, a small share of the whole."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        for layer in self.inner[:-1]:
            x = x + torch.tanh(layer(x))
        return self.out(x + 0.05 * Half.apply(self.inner[-1](x)))


def test_a_wrong_gradient_of_one_layer_is_not_lost_in_that_of_all():
    torch.manual_seed(0)

    with pytest.raises(SpecError, match=r"its gradient is off by (4|5).% of that in float64"):
        check_precision(*both(HalfOfOne()))
