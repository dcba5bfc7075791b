import pytest
import torch
from parsl_optuna.core.clock import Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.blame import users_code
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.posed import Calling, Posed
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
