import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.start import annealed
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.target import load

from tests.scenarios import Bench, n_beta, regression

N_1000 = {"data": {"n_data": 1000}}
SINGULAR = {"model": "dln", "overrides": {"model": {"widths": [4, 6, 4], "rank": 2}, **N_1000}}


def estimand_of(raw, folder):
    bench = Bench(raw, folder)
    return Estimand(load(bench.problem, folder))


def alone(estimand, generator):
    """Stages of which nothing is kept."""
    return Stages(Checkpoint(), generator, estimand)


def test_starts_have_the_posterior_widths_in_stiff_and_flat_directions(tmp_path, generator):
    curvature = [0.0, 0.0, 1e-2, 1.0, 50.0]
    raw = {"model": {"kind": "quadratic", "dim": 5, "curvature": curvature}, "overrides": N_1000}

    estimand = estimand_of(raw, tmp_path)
    w = annealed(estimand, 4000, alone(estimand, generator), Deadline())

    ratio = w.var(0) * (n_beta(1000) * torch.tensor(curvature) + 1).double()
    assert float(ratio.min()) > 0.67
    assert float(ratio.max()) < 1.5


def test_chains_arrive_at_the_energy_of_a_singular_target(tmp_path, generator):
    """Starts near w* would lack the width of the flat directions: virial over dim far below 1."""
    estimand = estimand_of(SINGULAR, tmp_path)

    w = annealed(estimand, 256, alone(estimand, generator), Deadline())

    _, gradient = estimand.energy(w, generator)
    virial = (w - estimand.centre).mul(gradient).sum(-1).mean() / estimand.dim
    assert float(virial) == pytest.approx(1.0, abs=0.15)


def test_trajectories_on_parts_of_the_data_arrive_at_the_energy_on_all_of_it(tmp_path, generator):
    """t = 181 lets a trajectory see 272 of 1,200."""
    linear = {"kind": "mlp", "in_dim": 8, "out_dim": 1, "depth": 0, "widths": [], "activation": "identity"}
    estimand = estimand_of({"model": linear, "overrides": {"data": {"n_data": 1200}}}, tmp_path)

    w = annealed(estimand, 400, alone(estimand, generator), Deadline())

    assert float(estimand.excess(w).mean()) == pytest.approx(regression(estimand), rel=0.2)


def test_a_deadline_ends_it_early(tmp_path, generator):
    ticks = iter(range(10**6))
    estimand = estimand_of(SINGULAR, tmp_path)

    w = annealed(estimand, 4, alone(estimand, generator), Deadline(2.0, now=lambda: float(next(ticks))))

    assert bool(torch.isfinite(w).all())
    assert next(ticks) < 20


def test_cooling_is_left_to_others_where_its_steps_are_short(tmp_path, generator):
    raw = {"model": {"kind": "dln", "widths": [10] * 5, "rank": 3}, "overrides": N_1000}
    estimand = estimand_of(raw, tmp_path)

    cold = annealed(estimand, 16, alone(estimand, generator), Deadline())
    work = estimand.work
    warm = annealed(estimand, 16, alone(estimand, generator), Deadline(), stiffest=30.0)

    assert estimand.work - work < 0.5 * work
    assert float(estimand.excess(warm).mean()) > 3.0 * float(estimand.excess(cold).mean())
