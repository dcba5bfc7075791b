import math

import pytest
import torch
from parsl_optuna.tasks.lvae.volume import volume, weight


def codes_with(stds):
    base = torch.tensor([-1.0, 1.0]) / math.sqrt(2.0)  # unbiased std of one
    return base[:, None] * torch.tensor(stds)


ALL = torch.ones(3, dtype=torch.bool)


def test_it_is_the_geometric_mean_of_stds():
    found = volume(codes_with([1.0, 2.0, 4.0]), ALL, torch.zeros(3), 1e-9, 1.0)

    assert float(found) == pytest.approx(2.0, rel=1e-4)


def test_units_are_those_of_the_spread():
    found = volume(codes_with([1.0, 2.0, 4.0]), ALL, torch.zeros(3), 1e-9, 10.0)

    assert float(found) == pytest.approx(0.2, rel=1e-4)


def test_pruning_changes_nothing_at_the_moment_it_happens():
    codes = codes_with([1.0, 2.0, 0.01])
    active = torch.tensor([True, True, False])
    frozen = codes.std(dim=0)

    before = volume(codes, ALL, torch.zeros(3), 1e-4, 1.0)
    after = volume(codes, active, frozen, 1e-4, 1.0)

    assert float(after) == pytest.approx(float(before), rel=1e-4)


def test_dead_dimensions_single_designs_and_no_dimensions_are_no_trouble():
    codes = codes_with([0.0, 1.0, 2.0]).requires_grad_()
    found = volume(codes, ALL, torch.zeros(3), 1e-4, 1.0)
    found.backward()

    assert torch.isfinite(codes.grad).all()
    assert volume(codes[:1], ALL, torch.zeros(3), 1e-4, 1.0).item() == 0.0
    assert volume(codes, ~ALL, torch.ones(3), 1e-4, 1.0).item() == 0.0


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.0), (50, 0.25), (100, 1.0), (5000, 1.0)])
def test_the_weight_rises_as_a_power(epoch, expected):
    assert weight(epoch, 1.0, 100, 2.0) == expected


def test_without_a_ramp_the_weight_is_there_at_once():
    assert weight(0, 3.0, 0, 2.0) == 3.0
