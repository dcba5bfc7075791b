import pytest
import torch
from parsl_optuna.core.clock import Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.blame import users_code
from parsl_optuna.tasks.llc.problem.checks import check
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.posed import Calling, Posed, pose_loss, private_copy
from torch import nn
from torch.nn import functional

X, LABELS = torch.zeros(100, 2), torch.zeros(100, dtype=torch.long)


def posed(loss=nn.CrossEntropyLoss()):  # noqa: B008  it has no state
    return Posed(nn.Linear(2, 3), loss, Calling("outputs"))


@pytest.mark.parametrize("place", [0, 57, 99])
def test_the_example_that_raises_is_named(place):
    labels = LABELS.clone()
    labels[place] = 3
    data = read((X, labels))

    said = rf"IndexError: Target 3 .* \(example {place} of data\)"

    with pytest.raises(SpecError, match=said), users_code(posed(), data):
        posed()(data.batch)


def test_what_no_single_example_raises_is_told_without_one():
    def together(outputs, y):
        if len(y) > 1:
            raise ArithmeticError("singular")
        return functional.cross_entropy(outputs, y)

    data = read((X, LABELS))

    said = r"ArithmeticError: singular \(on some of the data"

    with pytest.raises(SpecError, match=said), users_code(posed(together), data):
        posed(together)(data.batch)


@pytest.mark.parametrize("error", [Expired("late"), SpecError("loss: no")])
def test_what_is_told_already_passes(error):
    with pytest.raises(type(error)) as raised, users_code(posed(), read((X, LABELS))):
        raise error

    assert raised.value is error


def checked(model):
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    copied, data = private_copy(model), read((x, x[:, :1]))
    live = list(copied.parameters())
    return check(pose_loss(copied, nn.MSELoss(), data, torch.float64), live, data, model)


class Stale(nn.Linear):
    """Computes with what the first forward pass made of its weights."""

    made = None

    def forward(self, x):
        if self.made is None:
            self.made = self.weight * 1.0
        return x @ self.made.T + self.bias


def test_code_that_works_once_alone_is_told_in_a_line():
    with pytest.raises(SpecError, match=r"it raised RuntimeError: Trying to backward .* \(when called again"):
        checked(Stale(3, 1).double())


class Guarded(nn.Linear):
    """Raises where its outputs are large."""

    def forward(self, x):
        outputs = super().forward(x)
        if float(outputs.detach().abs().max()) > 8.0:
            raise ValueError("exploded")
        return outputs


def test_code_that_raises_far_from_the_weights_passes():
    torch.manual_seed(0)
    model = Guarded(3, 1).double()

    assert checked(model) == []


class Tying(nn.Module):
    """Ties its weights in its forward pass."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        self.outer.weight = self.inner.weight
        return self.outer(torch.tanh(self.inner(x))).sum(1, keepdim=True)


def test_parameters_that_a_forward_pass_replaces_are_told():
    with pytest.raises(SpecError, match="a forward pass puts other parameters in the place of its own"):
        checked(Tying().double())


def test_parameters_that_were_tied_by_an_earlier_pass_are_fine():
    model = Tying().double()
    model(torch.zeros(1, 3, dtype=torch.float64))

    assert checked(model) == []
