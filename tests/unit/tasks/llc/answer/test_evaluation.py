import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import vi
from parsl_optuna.tasks.llc.answer.evaluation import evaluate
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.target import load

from tests.scenarios import Bench, n_beta, quadratic


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A quadratic target, the settings and the first state of two fits."""
    bench = Bench({"model": "quadratic"}, tmp_path_factory.mktemp("q"))
    estimand = Estimand(load(bench.problem, bench.folder))
    scale = estimand.start_variances().sqrt()
    settings = vi.Params(0.01, 10, 1, 1, True, estimand.centre, scale, scale)
    fit = vi.build(estimand.energy, settings)
    stream = torch.Generator().manual_seed(3)
    state = fit.init(estimand.centre.expand(2, -1), stream)
    return estimand, settings, state, 600, stream


def test_the_control_variate_takes_all_noise_out_of_a_quadratic(fitted):
    estimand, settings, state, samples, stream = fitted

    found = evaluate(estimand, settings, state, samples, stream, Deadline(60))

    plain = found.traces.excess
    assert found.control == pytest.approx(1.0)
    assert found.estimate[1] < 1e-3 * float(plain.std())
    assert abs(float(plain.mean()) - found.estimate[0]) < 5 * float(plain.std()) / math.sqrt(plain.numel())
    assert not found.truncated


def test_a_deadline_leaves_draws_out_and_says_so(fitted):
    estimand, settings, state, samples, stream = fitted

    found = evaluate(estimand, settings, state, samples, stream, Deadline(1e-9))

    assert found.truncated
    assert found.traces.excess.shape == (4, 2)
    assert math.isfinite(found.estimate[0])


def test_a_trial_of_a_large_model_ends_within_its_budget(tmp_path):
    few = {"training": {"steps": 1, "polish_steps": 0}, "data": {"n_data": 5000}}
    bench = Bench({"model": "base", "data": "base", "overrides": few}, tmp_path)

    deadline = Deadline(math.inf)
    metrics = bench.run("vi", budget_sec=4.0, steps=10**6)

    assert metrics["truncated"]
    assert deadline.used_sec < 6.0


def test_the_known_mean_is_exact_for_a_fit_that_is_the_posterior(fitted):
    estimand, settings, state, samples, stream = fitted
    sd = (1.0 / (estimand.t * estimand.target.diagonal + estimand.gamma)).sqrt()
    log_sd = (sd / settings.whitening).log().expand_as(state.mixture.log_sd)
    zero = torch.zeros_like
    mixture = state.mixture._replace(
        log_sd=log_sd, mean=zero(state.mixture.mean), factor=zero(state.mixture.factor)
    )

    found = evaluate(estimand, settings, state._replace(mixture=mixture), samples, stream, Deadline(60))

    n = estimand.n
    assert found.estimate[0] == pytest.approx(quadratic([2.0] * 10, n_beta(n)), rel=1e-6)
    # Where the fit is the posterior, the free energy is that of the posterior: -log of its normaliser.
    free_energy = 0.5 * (1.0 + estimand.t * estimand.target.diagonal / estimand.gamma).log().mean()
    assert found.free_energy == pytest.approx(float(free_energy), rel=1e-6)
