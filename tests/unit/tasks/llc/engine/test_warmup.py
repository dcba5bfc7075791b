import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels.metric import Metric
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.engine import warmup
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.warmup import stable_step, warm_up, worthwhile
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.target import load

from tests.scenarios import Bench, first_fast, noisy_regression, regression
from tests.unit.kernels.gaussian import potential

PRECISION = torch.tensor([100.0, 1.0, 1.0], dtype=torch.float64)


def along(axis, stretch):
    """Coordinates that stretch one axis."""
    ones = torch.ones(3, dtype=torch.float64)
    return Metric(0 * ones, ones, torch.eye(3).double()[:, [axis]], torch.tensor([stretch]).double())


def test_the_step_is_that_of_the_stiffest_direction(generator):
    z = torch.randn(4, 3, generator=generator, dtype=torch.float64)

    assert stable_step(potential(PRECISION), z, generator) == pytest.approx(1.2 / 10.0, rel=1e-3)


def test_a_direction_stays_that_makes_steps_longer_and_no_other(generator):
    w = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    helps, is_idle = along(0, 0.1), along(1, 0.9)

    assert worthwhile(potential(PRECISION), helps, w, generator) is helps
    assert len(worthwhile(potential(PRECISION), is_idle, w, generator).stretch) == 0


@pytest.mark.slow
def test_chains_arrive_at_the_loss_of_a_deep_network(tmp_path, generator):
    """39.28 at n = 1e4, by long Rao-Blackwellised runs; annealing alone leaves them a good deal hotter."""
    raw = {"model": {"kind": "dln", "widths": [10] * 5, "rank": 3}, "overrides": {"data": {"n_data": 10_000}}}
    bench = Bench(raw, tmp_path)
    estimand = Estimand(load(bench.problem, bench.folder))

    arrived = warm_up(estimand, 64, Stages(Checkpoint(), generator, estimand), Deadline(60.0))

    excess = estimand.excess(arrived.position)
    assert abs(float(excess.mean()) - 39.28) < 4 * float(excess.std()) / math.sqrt(64) + 1.5


LARGE = [
    ([20, 30, 30, 20], 5, 192.634),  # 2,100 parameters
    ([50, 64, 64, 64, 50], 10, 1095.26),  # 14,592
]
"""Widths, rank and LLC at n = 1e4, by `benchmarks.deep_linear`."""


@pytest.mark.parametrize(("widths", "rank", "truth"), first_fast(LARGE))
def test_chains_of_a_large_network_arrive_too(tmp_path, generator, monkeypatch, widths, rank, truth):
    """They start as draws of the prior. Cooled slowly first, those of the largest are still 30 % above it."""
    monkeypatch.setattr(warmup, "_ANNEALED", 2000)
    raw = {"model": {"kind": "dln", "widths": widths, "rank": rank}}
    bench = Bench(raw | {"overrides": {"data": {"n_data": 10_000}}}, tmp_path)
    estimand = Estimand(load(bench.problem, bench.folder))

    arrived = warm_up(estimand, 8, Stages(Checkpoint(), generator, estimand), Deadline())

    excess = estimand.excess(arrived.position)
    assert abs(float(excess.mean()) / truth - 1.0) < 4 * float(excess.std()) / math.sqrt(8) / truth + 0.02


def test_a_deadline_ends_it_early(tmp_path, generator):
    bench = Bench({"model": "dln", "overrides": {"model": {"widths": [4, 6, 4], "rank": 2}}}, tmp_path)
    estimand, ticks = Estimand(load(bench.problem, bench.folder)), iter(range(10**6))
    deadline = Deadline(30.0, now=lambda: float(next(ticks)))

    arrived = warm_up(estimand, 4, Stages(Checkpoint(), generator, estimand), deadline)

    assert bool(torch.isfinite(arrived.position).all())
    assert next(ticks) < 100


def test_a_sparing_warm_up_arrives_at_the_same_posterior(tmp_path, monkeypatch):
    """Half of the chains start near w*, windows take 217 of 1,000 examples: the LLC is known."""
    monkeypatch.setattr(warmup, "_ANNEALED", 1)
    estimand, generator = noisy_regression(tmp_path), torch.Generator().manual_seed(3)

    arrived = warm_up(estimand, 256, Stages(Checkpoint(), generator, estimand), Deadline(60.0), sparing=True)

    excess, truth = estimand.excess(arrived.position), regression(estimand)
    near, far = excess.tensor_split(2)
    error = math.sqrt(truth / 128)  # of the mean of 128 draws: t (L - L0) is half a chi-square
    assert abs(float(near.mean()) - truth) < 5 * error
    assert abs(float(far.mean()) - truth) < 5 * error
