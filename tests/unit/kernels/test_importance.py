import math

import pytest
import torch
from parsl_optuna.kernels.importance import TRUSTED, expectation


def normal_log(x, sd):
    return -0.5 * (x / sd) ** 2 - math.log(sd)


def test_a_wide_proposal_gives_the_mean_of_the_target(generator):
    x = 1.5 * torch.randn(20_000, generator=generator, dtype=torch.float64)

    found = expectation(x**2, normal_log(x, 1.0) - normal_log(x, 1.5))

    assert abs(found.value - 1.0) < 4 * found.se
    assert found.se < 0.03
    assert found.khat < 0.5


def test_a_narrow_proposal_is_not_to_be_trusted(generator):
    x = 0.3 * torch.randn(20_000, generator=generator, dtype=torch.float64)

    found = expectation(x**2, normal_log(x, 1.0) - normal_log(x, 0.3))

    assert found.khat > TRUSTED
    assert found.value < 0.9


def test_the_target_itself_needs_no_weights(generator):
    x = torch.randn(1000, generator=generator, dtype=torch.float64)

    found = expectation(x**2, torch.zeros(1000))

    assert found.value == pytest.approx(float((x**2).mean()))
    assert found.khat == -math.inf


def test_a_constant_on_the_ratios_changes_nothing(generator):
    x = 2.0 * torch.randn(1000, generator=generator, dtype=torch.float64)
    ratios = normal_log(x, 1.0) - normal_log(x, 2.0)

    assert expectation(x, ratios).value == pytest.approx(expectation(x, ratios + 100.0).value, rel=1e-3)


def test_draws_that_are_no_numbers_are_left_out_and_too_few_give_nan(generator):
    x = torch.randn(1000, generator=generator, dtype=torch.float64)
    broken = x.clone()
    broken[0] = math.nan

    assert math.isfinite(expectation(broken, torch.zeros(1000)).value)
    assert math.isnan(expectation(x[:10], torch.zeros(10)).value)
