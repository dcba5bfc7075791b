"""Two parts of a posterior, between which no chain moves: an answer that knows one of them is not `ok`."""

import math
from types import SimpleNamespace

import parsl_optuna
import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.answer.summary import Elsewhere
from parsl_optuna.tasks.llc.engine import sides
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import warm_up

from tests.scenarios import Place, noisy_regression, regression

N, DIM = 1000, 10
T = N / math.log(N)
NEAR, FAR, DISTANCE = 50.0, 0.5, 2.0
"""Curvatures of a well at w* and of another one, and how far apart they are."""


def two_wells(w):
    """Return t L: minus the logarithm of a sum of two normals, each with half of the posterior."""
    shift = torch.tensor([DISTANCE] + [0.0] * (DIM - 1), dtype=torch.float64)
    volume = 0.5 * DIM * math.log((T * FAR + 1) / (T * NEAR + 1))
    lost_to_the_prior = 0.5 * T * FAR / (T * FAR + 1) * DISTANCE**2
    near = -0.5 * T * NEAR * w.square().sum(-1)
    far = volume + lost_to_the_prior - 0.5 * T * FAR * (w - shift).square().sum(-1)
    return -torch.logaddexp(near, far)


def hole(w):
    """Return t L: flat but for a hole at w*, which has a tenth of the posterior or so."""
    return 0.2 * T * (1.0 - torch.exp(-w.square().sum(-1) / (2.0 * 0.2**2)))


def found(energy, kernel, budget_sec=6.0):
    noise = torch.randn(N, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return parsl_optuna.estimate_llc(
        Place(DIM),
        lambda outputs, y: (energy(outputs) / T + 0.01 * y[:, 0]).mean(),
        (noise, noise),
        kernel=kernel,
        relative_error=0.05,
        budget_sec=budget_sec,
    )


@pytest.mark.parametrize(
    ("energy", "kernel"),
    [
        (hole, "langevin"),
        (two_wells, "laplace"),
        *(
            pytest.param(energy, kernel, marks=pytest.mark.slow)
            for energy, kernel in ((hole, "hmc"), (hole, "sgld"), (hole, "nuts"), (two_wells, "langevin"))
        ),
    ],
)
def test_an_answer_that_knows_one_part_is_not_ok(energy, kernel):
    result = found(energy, kernel)

    assert result.status != "ok"
    if result.status == "not_converged":  # other checks may see it first
        assert "chains that began" in result.reason


def test_chains_that_begin_elsewhere_arrive(generator, tmp_path):
    estimand = noisy_regression(tmp_path)
    stages = Stages(Checkpoint(), generator, SimpleNamespace(work=0.0))
    arrived = warm_up(estimand, 32, stages, Deadline(60))
    truth = regression(estimand)

    for compare in (
        sides.from_centre(estimand, arrived, stages, Deadline(60)),
        sides.from_prior(estimand, stages, Deadline(60)),
    ):
        seen = compare(truth, 0.01)
        assert abs(seen.llc - truth) < 5 * seen.se + 0.05 * truth
        assert 0 < seen.se < 0.3 * truth


def test_where_there_is_no_time_nothing_is_claimed(generator, tmp_path):
    estimand = noisy_regression(tmp_path)
    stages = Stages(Checkpoint(), generator, SimpleNamespace(work=0.0))
    arrived = warm_up(estimand, 32, stages, Deadline(60))

    def late(w, rows=None):
        raise sides.Expired("late")

    estimand.target.loss.value = estimand.target.loss.value_and_grad = late

    for compare in (
        sides.from_centre(estimand, arrived, stages, Deadline(60)),
        sides.from_prior(estimand, stages, Deadline(60)),
    ):
        seen = compare(3.0, 0.01)
        assert isinstance(seen, Elsewhere)
        assert math.isnan(seen.llc)
