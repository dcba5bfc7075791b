"""What two copies of a model share is found before threads could mix it up."""

import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.pose import pose
from parsl_optuna.tasks.llc.problem.selection import select
from torch import nn
from torch.utils.checkpoint import checkpoint

CPU = torch.device("cpu")
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
SHARED = "model and loss share something with their copies that a pass changes"


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))


def posed(model, loss, copies=2):
    return pose(model, loss, read((X, X)), select(model), torch.float64, others=[CPU] * (copies - 1))


def hooked():
    """A hook keeps activations in a mapping that all copies write to; the loss reads them."""
    model, kept = network(), {}
    model[1].register_forward_hook(lambda module, given, out: kept.update(hidden=out))

    def loss(outputs, y):
        missed = (outputs - y).square().mean()
        return missed + kept["hidden"].square().mean()

    return model, loss


def with_a_list():
    model, kept = network(), []
    model[1].register_forward_hook(lambda module, given, out: kept.append(out))

    def loss(model, batch):
        kept.clear()
        missed = (model(batch[0]) - batch[1]).square().mean()
        return missed + sum(one.square().mean() for one in kept)

    return model, loss


class Remembering:
    """A loss that is an object, and keeps the outputs for a moment."""

    def __call__(self, model, batch):
        self.outputs = model(batch[0])
        return (self.outputs - batch[1]).square().mean()


class Seeded(nn.Module):
    """Noise that is the same in every pass, by the seed that all threads share."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        torch.manual_seed(0)
        noise = torch.randn(4, dtype=x.dtype)
        second = torch.randn(4, dtype=x.dtype)
        return self.inner(x) * (noise * second).mean()


@pytest.mark.parametrize(
    "given",
    [
        hooked,
        with_a_list,
        lambda: (network(), Remembering()),
        lambda: (Seeded(), nn.functional.mse_loss),
    ],
    ids=["hook", "list", "object", "seed"],
)
def test_what_threads_would_mix_up_is_refused_and_works_on_one_device(given):
    with pytest.raises(SpecError, match=SHARED):
        posed(*given())

    assert posed(*given(), copies=1).loss.n_examples == 40


class Own(nn.Module):
    """Keeps activations in itself, of which every copy has its own; recomputes them on the way back."""

    def __init__(self):
        super().__init__()
        self.inner = network()
        self.inner[1].register_forward_hook(self.keep)

    def keep(self, module, given, out):
        self.kept = out

    def forward(self, x):
        outputs = self.inner[:2](x)
        return checkpoint(self.inner[2], outputs, use_reentrant=False) + self.kept.mean(1, keepdim=True)


def test_what_a_model_keeps_in_itself_is_its_own():
    assert "spread over" in posed(Own(), nn.functional.mse_loss).chains


FIRST = []


class Distant(nn.Module):
    """Computes with the weights of the first copy that there was."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        if not FIRST:
            FIRST.append(self.inner)
        return FIRST[0](x) + 0.1 * self.inner(x)


def test_a_copy_that_gives_other_numbers_is_refused():
    with pytest.raises(SpecError, match="device 'cpu': a copy of model and loss gives other numbers there"):
        posed(Distant(), nn.functional.mse_loss)
