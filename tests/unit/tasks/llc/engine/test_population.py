"""Sequential Monte Carlo: known answers, parts by their evidence, and what a budget that ends leaves."""

import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import Preempted, SpecError
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.base import Work, run_task
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.api import Settings, run
from parsl_optuna.tasks.llc.engine import population
from parsl_optuna.tasks.llc.samplers.auto import Params
from torch import nn

from tests.scenarios import DLN, Bench, EveryNth, first_fast, n_beta, power, quadratic, w1w2_squared

T = n_beta(1000)
N_1000 = {"data": {"n_data": 1000}}
CURVATURES = [0.0, 1e-3, 0.5, 4.0, 1e3]
KNOWN = {
    "regular": ({"kind": "quadratic", "dim": 5, "curvature": CURVATURES}, quadratic(CURVATURES, T)),
    "w^4": ({"kind": "monomial", "exponents": [4]}, power(4, T)),
    "w1^2 w2^2": ({"kind": "monomial", "exponents": [2, 2]}, w1w2_squared(T)),
    **{
        f"dln {widths}": ({"kind": "dln", "widths": list(widths), "rank": rank}, known)
        for (widths, rank), (known, _) in DLN.items()
    },
}


def found(tmp_path, model, budget_sec=120.0, **settings):
    bench = Bench({"model": model, "overrides": N_1000}, tmp_path)
    return bench.run("auto", kernel="smc", budget_sec=budget_sec, **settings)


@pytest.mark.parametrize("name", [*list(KNOWN)[:4], *first_fast(list(KNOWN)[4:])])
def test_the_answer_is_right_within_its_error(tmp_path, name):
    model, truth = KNOWN[name]

    metrics = found(tmp_path, model, relative_error=0.02)

    assert metrics["status"] == "ok", metrics["status_reason"]
    assert abs(metrics["llc_hat"] - truth) < 4 * metrics["se_hat"]
    assert metrics["se_hat"] <= 0.0201 * truth
    assert metrics["diagnostics"]["virial_ratio"] == pytest.approx(1.0, abs=0.1)
    assert metrics["diagnostics"]["populations"] >= 2 * population.GROUPS


def test_the_evidence_is_that_of_a_normal_posterior(tmp_path):
    seen = found(tmp_path, KNOWN["regular"][0], relative_error=0.05)["diagnostics"]

    exact = -0.5 * sum(math.log1p(T * one) for one in CURVATURES)
    assert seen["log_evidence_near"] == pytest.approx(exact, abs=1e-6)
    assert seen["log_evidence"] == pytest.approx(exact, abs=0.5)


class Weights(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dim, dtype=torch.float64))

    def forward(self, x):
        del x
        return self.w


def estimated(loss, dim, seconds=60.0, **settings):
    """Estimate a loss of the weights alone."""
    x = torch.zeros(1000, 1)
    chosen = Settings(kernel="smc", n_beta=T, **settings)
    return run(Weights(dim), lambda model, batch: loss(model(batch)), (x, x), chosen, Deadline(seconds))


def test_a_hole_that_no_particle_of_the_prior_falls_into_counts_by_its_evidence():
    """In ten dimensions the prior has 1e-12 of its mass there, and the posterior all: the LLC is 5.1."""
    width = 0.1

    def loss(w):
        return 1.0 - (-0.5 * w.square().sum() / width**2).exp()

    metrics = estimated(loss, 10, relative_error=0.05).metrics

    assert metrics["status"] == "ok", metrics["status_reason"]
    assert abs(metrics["llc_hat"] - 5.110) < 4 * metrics["se_hat"]
    assert metrics["diagnostics"]["is_weighted"]
    assert metrics["diagnostics"]["log_evidence"] == pytest.approx(-T, abs=0.1)


def test_two_wells_count_by_their_evidence():
    """A normal at w* with 1,000 times the precision of another, which has nine tenths of the posterior."""
    dim, wide, narrow, share, at = 5, T, 1000.0 * T, 0.9, 3.0

    def loss(w):
        far = w.square().sum() + at * (at - 2.0 * w[0])
        first = math.log1p(-share) + 0.5 * dim * math.log(narrow) - 0.5 * narrow * w.square().sum()
        second = math.log(share) + 0.5 * dim * math.log(wide) - 0.5 * wide * far
        return -(torch.logaddexp(first, second) + 0.5 * w.square().sum()) / T

    metrics = estimated(loss, dim, relative_error=0.05).metrics

    higher = math.log((1.0 - share) / share) + 0.5 * dim * math.log(narrow / wide)
    of_wide = 0.5 * dim + higher - 0.5 * (dim / wide + at**2)
    truth = (1.0 - share) * 0.5 * dim + share * of_wide
    assert abs(metrics["llc_hat"] - truth) < 4 * metrics["se_hat"]
    assert metrics["se_hat"] < 0.05 * truth
    assert metrics["diagnostics"]["is_weighted"]


def test_a_loss_that_is_finite_in_a_part_of_the_prior_alone_is_answered():
    metrics = estimated(lambda w: torch.where(w[0] > -0.5, w.square().sum(), torch.nan), 1).metrics

    assert metrics["status"] == "ok", metrics["status_reason"]
    assert metrics["llc_hat"] == pytest.approx(quadratic([2.0], T), rel=0.05)


class Ticking:
    """A clock that goes on by a second per look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def cut(tmp_path, looks):
    bench = Bench({"model": KNOWN["regular"][0], "overrides": N_1000}, tmp_path)
    params = TASK.complete({}, "auto", {"kernel": "smc"}, "test")
    deadline = Deadline(float(looks), Ticking())
    return run_task(TASK, Work(bench.problem, "auto", params, 1, deadline, bench.folder))


def test_a_budget_that_ends_before_a_draw_leaves_none(tmp_path):
    metrics = cut(tmp_path, 20)

    assert metrics["status"] == "not_converged"
    assert metrics["status_reason"] == "the budget ended before the first draw"
    assert metrics["truncated"]
    assert math.isnan(metrics["llc_hat"])


def test_a_budget_that_ends_before_the_check_at_the_centre_says_what_would_do(tmp_path):
    for looks in range(50, 1000, 25):
        metrics = cut(tmp_path, looks)
        if metrics["diagnostics"]["n_draws"]:
            break

    assert metrics["status"] == "not_converged"
    assert "the budget ended before populations that begin" in metrics["status_reason"]
    assert metrics["status_reason"].endswith("s would do")
    assert metrics["llc_hat"] == pytest.approx(KNOWN["regular"][1], rel=0.2)


def test_the_same_seed_gives_the_same_number(tmp_path):
    first, second = (found(tmp_path, KNOWN["w^4"][0], relative_error=0.1) for _ in range(2))

    assert first["llc_hat"] == second["llc_hat"]


def attempt(bench, checkpoint):
    params = TASK.complete({}, "auto", {"kernel": "smc", "relative_error": 0.02}, "test")
    work = Work(bench.problem, "auto", params, 5, Deadline(600.0), bench.folder, checkpoint)
    metrics = run_task(TASK, work)
    for name in ("warmup_sec", "drawing_sec"):
        metrics["diagnostics"].pop(name)
    return metrics


def test_a_run_that_is_stopped_often_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(population, "_MOST", 16)
    model = {"kind": "dln", "widths": [2, 2, 2], "rank": 1}  # from the prior and from w*
    bench = Bench({"model": model, "overrides": N_1000}, tmp_path / "problem")
    wanted, attempts, metrics = attempt(bench, Checkpoint()), 0, None

    while metrics is None:
        attempts += 1
        try:
            metrics = attempt(bench, EveryNth(tmp_path, 17))
        except Preempted:
            continue

    assert attempts > 3
    assert repr(metrics) == repr(wanted)


def test_there_are_no_chains_to_count():
    with pytest.raises(SpecError, match="chains 8: kernel 'smc' has none"):
        Params(kernel="smc", chains=8)
