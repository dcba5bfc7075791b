"""Weighted draws of the normal approximation: right where it is near, and not `ok` elsewhere."""

import math

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.kernels import laplace
from parsl_optuna.tasks.llc.samplers.auto import Params

from tests.scenarios import DLN, Bench, n_beta, power, quadratic

T = n_beta(1000)
N_1000 = {"data": {"n_data": 1000}}


def found(tmp_path, model, **settings):
    bench = Bench({"model": model, "overrides": N_1000}, tmp_path)
    return bench.run("auto", kernel="laplace", **settings)


@pytest.mark.parametrize(
    ("model", "truth"),
    [
        (
            {"kind": "quadratic", "dim": 4, "curvature": [0.0, 1e-3, 0.5, 1e3]},
            quadratic([0, 1e-3, 0.5, 1e3], T),
        ),
        ({"kind": "monomial", "exponents": [4]}, power(4, T)),  # no curvature at all: the prior is drawn
    ],
)
def test_a_posterior_that_the_approximation_covers_is_answered(tmp_path, model, truth):
    metrics = found(tmp_path, model, relative_error=0.01)

    assert metrics["status"] == "ok", metrics["status_reason"]
    assert abs(metrics["llc_hat"] - truth) < 4 * metrics["se_hat"]
    assert metrics["se_hat"] <= 0.0101 * truth
    assert metrics["bias"] < 0.02 * truth  # beyond two standard errors of the virial by chance at times


def test_chains_from_the_prior_try_what_its_draws_cannot_see(tmp_path):
    """Of ten parameters, one draw of the prior in a million is where the loss is small."""
    many = found(tmp_path / "many", {"kind": "quadratic", "dim": 10, "curvature": [2.0] * 10})
    one = found(tmp_path / "one", {"kind": "monomial", "exponents": [4]})

    assert many["status"] == one["status"] == "ok"
    assert many["diagnostics"]["other_start"] == "in the prior"
    assert many["diagnostics"]["other_llc"] == pytest.approx(many["llc_hat"], rel=0.5)
    assert "other_start" not in one["diagnostics"]


def test_many_parameters_are_drawn_without_the_whole_hessian(tmp_path):
    curvatures = [5.0] * 10 + [0.1] * 10 + [0.0] * 1480

    metrics = found(
        tmp_path, {"kind": "quadratic", "dim": 1500, "curvature": curvatures}, relative_error=0.02
    )

    assert metrics["status"] == "ok", metrics["status_reason"]
    assert abs(metrics["llc_hat"] - quadratic(curvatures, T)) < 4 * metrics["se_hat"]


@pytest.mark.parametrize("name", list(DLN)[:2])
def test_a_singular_posterior_is_not_called_ok(tmp_path, name):
    widths, rank = name

    metrics = found(tmp_path, {"kind": "dln", "widths": list(widths), "rank": rank})

    assert metrics["status"] == "uncertain"
    assert "k-hat" in metrics["status_reason"]
    assert metrics["bias"] is None
    assert metrics["llc_hat"] == pytest.approx(metrics["diagnostics"]["normal_llc"])
    assert abs(metrics["llc_hat"] / DLN[name][0] - 1.0) > 0.2  # which it is right not to claim


def test_draws_that_the_deadline_cut_off_do_not_cost_the_others_their_weights(tmp_path, monkeypatch):
    whole, sizes = laplace.krylov, []

    def cut_at_last(posterior, n, *others):
        drawn = whole(posterior, n, *others)
        assert drawn is not None
        sizes.append(n)
        return drawn if len(sizes) < 10 else drawn._replace(is_settled=False, is_cut=True)

    monkeypatch.setattr(laplace, "krylov", cut_at_last)
    curvatures = [5.0] * 10 + [0.0] * 1490

    metrics = found(
        tmp_path, {"kind": "quadratic", "dim": 1500, "curvature": curvatures}, relative_error=1e-6
    )

    assert metrics["diagnostics"]["khat"] < 0.7
    assert metrics["diagnostics"]["n_steps"] == sum(sizes[:9])
    assert len(sizes) == 10
    assert metrics["truncated"]


def test_without_time_for_a_draw_there_is_none_and_it_says_so(tmp_path):
    curvatures = [5.0] * 1500

    metrics = found(tmp_path, {"kind": "quadratic", "dim": 1500, "curvature": curvatures}, budget_sec=1e-3)

    assert metrics["status"] == "not_converged"
    assert metrics["truncated"]
    assert math.isnan(metrics["llc_hat"])


def test_chains_that_there_are_none_of_are_refused():
    with pytest.raises(SpecError, match="chains 8: kernel 'laplace' has none"):
        Params(kernel="laplace", chains=8)
