import numpy as np
import pytest
import torch
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.selection import select
from torch import nn


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))


def test_all_that_require_a_gradient_are_sampled(model):
    model[0].bias.requires_grad_(requires_grad=False)

    found = select(model)

    assert "0.bias" not in found.names
    assert (found.dim, found.total) == (12 + 20 + 10, 46)
    assert found.indices is None


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ("2.weight", ["2.weight"]),
        ("*.bias", ["0.bias", "2.bias", "3.bias"]),
        ("2", ["2.weight", "2.bias"]),
        (["0.bias", "3"], ["0.bias", "3.weight", "3.bias"]),
        (("3.bias", "0.bias"), ["0.bias", "3.bias"]),
    ],
)
def test_names_and_patterns_select(model, parameters, names):
    assert list(select(model, parameters).names) == names


def test_modules_and_parameters_select_by_identity(model):
    assert select(model, model[2]).names == ("2.weight", "2.bias")
    assert select(model, [model[3].bias, model[0]]).names == ("0.weight", "0.bias", "3.bias")
    assert select(model, model).dim == select(model).dim


def test_a_mask_selects_elements(model):
    mask = torch.zeros(4, 3, dtype=torch.bool)
    mask[1] = True

    found = select(model, {"0.weight": mask.numpy(), "0.bias": True})

    assert found.names == ("0.weight", "0.bias")
    assert found.dim == 3 + 4
    assert found.indices.tolist() == [3, 4, 5, 12, 13, 14, 15]


def test_masks_of_one_parameter_add_up(model):
    first, second = (torch.arange(4) == index for index in (0, 2))

    assert select(model, {"0.bias": first, "0.*s": second}).indices.tolist() == [0, 2]
    assert select(model, {"0.bias": first, "0.bia?": True}).dim == 4


def test_tied_weights_count_once(model):
    model[3].weight = model[2].weight

    found = select(model)

    assert found.dim == found.total == 12 + 4 + 16 + 4 + 2
    assert select(model, "3.weight").names == ("2.weight",)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("head.*", r"'head\.\*' matches no parameter"),
        ("2.weigth", "did you mean '2.weight'"),
        ([], "empty list"),
        (3, "3 is no name"),
        (nn.Linear(2, 2), "not a part of the model"),
        (torch.zeros(3), "not a parameter of the model"),
        (
            {"0.bias": torch.zeros(4)},
            r"mask of 0.bias is torch.float32 of shape \(4,\); it must be bool of \(4,\)",
        ),
        ({"0.bias": np.zeros(3, dtype=bool)}, r"of shape \(3,\); it must be bool of \(4,\)"),
        ({"0.bias": torch.zeros(4, dtype=torch.bool)}, "select no element"),
        ({"0.bias": 0.5}, "it must be bool"),
    ],
)
def test_what_selects_nothing_is_refused(model, parameters, said):
    with pytest.raises(SpecError, match=said) as caught:
        select(model, parameters)

    assert str(caught.value).startswith("parameters: ")


def test_what_is_frozen_is_not_selected(model):
    model[2].requires_grad_(requires_grad=False)

    assert select(model, "*.bias").names == ("0.bias", "3.bias")
    with pytest.raises(SpecError, match=r"requires_grad_\(\)"):
        select(model, model[2])


def test_models_without_anything_to_sample_are_refused(model):
    with pytest.raises(SpecError, match="no parameter requires a gradient"):
        select(model.requires_grad_(requires_grad=False))
    with pytest.raises(SpecError, match="it has no parameters"):
        select(nn.Identity())
    with pytest.raises(SpecError, match="has no shape yet"):
        select(nn.LazyLinear(3))


class Shared(nn.Module):
    """Two parameters, and a buffer, on memory that a test chooses."""

    def __init__(self, first, second, buffer=None):
        super().__init__()
        self.first, self.second = nn.Parameter(first), nn.Parameter(second)
        if buffer is not None:
            self.register_buffer("buffer", buffer)


MEMORY = torch.arange(6.0)


@pytest.mark.parametrize(
    "model",
    [
        Shared(MEMORY, MEMORY),
        Shared(MEMORY, MEMORY[2:4]),
        Shared(MEMORY.reshape(2, 3), MEMORY.reshape(2, 3).T[1]),
        Shared(torch.zeros(3), MEMORY[:1].expand(4)),
        Shared(torch.zeros(3), MEMORY, MEMORY[1:3]),
    ],
    ids=["the same", "a view", "a transposed view", "expanded", "a buffer"],
)
def test_parameters_on_the_same_memory_are_refused(model):
    """A copy of the model has them apart, so that its LLC would be that of more parameters."""
    with pytest.raises(SpecError, match="share memory as views"):
        select(model)


def test_parameters_beside_one_another_in_one_memory_are_two():
    grid = MEMORY.reshape(2, 3)

    assert select(Shared(MEMORY[:3], MEMORY[3:])).dim == 6
    assert select(Shared(grid[:, 0], grid[:, 1])).dim == 4


def test_a_padding_row_is_held_and_noted():
    model = nn.Sequential(nn.Embedding(4, 2, padding_idx=1), nn.Linear(2, 1))

    found = select(model)

    assert found.dim == 6 + 3
    assert found.indices.tolist() == [0, 1, 4, 5, 6, 7, 8, 9, 10]
    assert found.notes == ("the padding row of 0.weight is held, as in training",)


def test_a_mask_decides_about_a_padding_row():
    model = nn.Sequential(nn.Embedding(4, 2, padding_idx=1))

    found = select(model, {"0.weight": torch.ones(4, 2, dtype=torch.bool)})

    assert (found.dim, found.notes) == (8, ())
