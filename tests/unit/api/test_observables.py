"""Observables, influence and susceptibilities, on posteriors whose moments are known."""

import json
import math

import numpy as np
import parsl_optuna
import pyarrow.parquet
import pytest
import torch
from parsl_optuna.api.observables import correlation, covariance
from parsl_optuna.core.errors import SpecError
from scipy.integrate import quad
from torch import nn

from tests.scenarios import n_beta

N = 200


class Regression:
    """A linear model at its least-squares fit: the posterior is normal, losses are squares of normals."""

    def __init__(self, generator):
        self.x = torch.randn(N, 3, generator=generator, dtype=torch.float64)
        noise = 0.5 * torch.randn(N, 1, generator=generator, dtype=torch.float64)
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5]]).double() + noise
        self.model = nn.Linear(3, 1, bias=False).double()
        with torch.no_grad():
            self.model.weight.copy_(torch.linalg.lstsq(self.x, self.y).solution.T)
        self.residuals = (self.y - self.model(self.x)).detach().numpy()[:, 0]

    def covariance_of_weights(self, free=(0, 1, 2)):
        part = self.x.numpy()[:, list(free)]
        found = np.zeros((3, 3))
        inner = np.linalg.inv(n_beta(N) * 2 * part.T @ part / N + np.eye(len(free)))
        found[np.ix_(free, free)] = inner
        return found

    def estimate(self, observables, **settings):
        return parsl_optuna.estimate_llc(
            self.model, nn.MSELoss(), (self.x, self.y), observables=observables, budget_sec=30, **settings
        )


@pytest.fixture
def regression(generator):
    return Regression(generator)


def within(found, truth, errors=5.0):
    """Whether all values are right within their errors: one of 400 is off by 5 in 4,000 tests."""
    return bool((np.abs(found.value - truth) < errors * found.se).all())


def test_means_errors_and_values_at_the_centre(regression):
    found = regression.estimate({"norm": lambda model: model.weight.square().sum()})

    norm, weights = found.observables["norm"], regression.model.weight.detach().numpy()
    truth = float((weights**2).sum()) + np.trace(regression.covariance_of_weights())
    assert norm.mean.shape == ()
    assert abs(norm.mean - truth) < 4 * norm.se
    assert norm.centre == pytest.approx(float((weights**2).sum()))
    assert norm.ess > 500
    assert norm.rhat < 1.05
    assert found.draws["norm"].shape == found.draws["excess"].shape


@pytest.mark.parametrize("layers", [1, 2])
def test_influence_of_examples_is_that_of_squares_of_normals(regression, layers):
    """Cov((r_i - u_i)^2, (r_j - u_j)^2) = 4 r_i r_j s_ij + 2 s_ij^2 of normal u; both paths to the loss."""
    if layers == 2:
        regression.model = nn.Sequential(regression.model)
    few = slice(0, 20)
    x, r = regression.x.numpy()[few], regression.residuals[few]

    found = regression.estimate({"few": (regression.x[few], regression.y[few])})

    s = x @ regression.covariance_of_weights() @ x.T
    influence = found.influence("few", "few")
    truth = -(4 * np.outer(r, r) * s + 2 * s**2)
    assert influence.value.shape == (20, 20)
    assert within(influence, truth)
    assert np.median(influence.se / np.abs(truth)) < 0.3
    means = found.observables["few"]
    assert np.abs((means.mean - r**2 - np.diag(s)) / means.se).max() < 5


def test_susceptibilities_of_a_component_beside_the_full_posterior(regression):
    """E_C[phi d] - E_C[phi] E[d] with phi = v'Av, d = (r - x v)^2 - L and v normal, of which C is a part."""
    free, few = (0, 2), slice(0, 20)
    data = {"few": (regression.x[few], regression.y[few])}

    part = regression.estimate(
        data, parameters={"weight": torch.tensor([[place in free for place in range(3)]])}
    )
    full = regression.estimate(data)

    x, r, a = regression.x.numpy()[few], regression.residuals[few], regression.x.numpy()
    a = a.T @ a / N
    s, whole = regression.covariance_of_weights(free), regression.covariance_of_weights()
    squares = np.einsum("na,ab,nb->n", x, s, x)
    mean, loss = np.trace(a @ s), float((regression.residuals**2).mean())
    product = mean * (r**2 + squares) + 2 * np.einsum("na,ab,nb->n", x, s @ a @ s, x)
    product = product - (mean * loss + mean**2 + 2 * np.trace(a @ s @ a @ s))
    own = r**2 + squares - loss - mean
    theirs = r**2 + np.einsum("na,ab,nb->n", x, whole, x) - loss - np.trace(a @ whole)
    assert within(part.susceptibility("few"), -(product - mean * own))
    assert within(part.susceptibility("few", full), -(product - mean * theirs))


def test_a_mixture_of_gaussians_has_the_moments_of_quadrature(generator):
    """-log(N(x; w, 1)/2 + N(x; -w, 1)/2) at w = 0, where both are one: far from normal, one dimension."""
    x = torch.randn(100, 1, generator=generator, dtype=torch.float64)

    class Mixture(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return (-0.5 * (x[:, 0] - self.mean) ** 2).logaddexp(-0.5 * (x[:, 0] + self.mean) ** 2)

    def loss(model, batch):
        return -model(batch["x"]).mean()

    data = {"x": x}
    found = parsl_optuna.estimate_llc(
        Mixture(),
        loss,
        data,
        observables={"each": {"x": x[:5]}, "square": lambda model: model.mean**2},
        budget_sec=30,
    )

    values, t = x.numpy()[:, 0], n_beta(100)

    def each(w):
        return -np.logaddexp(-0.5 * (values - w) ** 2, -0.5 * (values + w) ** 2)

    def expected(function):
        weighed = [
            quad(lambda w, f=f: f(w) * math.exp(-t * (each(w) - each(0.0)).mean() - 0.5 * w * w), -4, 4)[0]
            for f in (function, lambda _: 1.0)
        ]
        return weighed[0] / weighed[1]

    product = [expected(lambda w, i=i: each(w)[i] * w * w) for i in range(5)]
    means = [expected(lambda w, i=i: each(w)[i]) for i in range(5)]
    truth = -(np.array(product) - np.array(means) * expected(lambda w: w * w))
    influence = found.influence("each", "square")
    assert influence.value.shape == (5, 1)
    assert within(influence, truth[:, None])


def test_a_function_of_model_and_batch_sees_its_own_data(regression):
    given = regression.x[:4]

    found = regression.estimate({"prediction": (lambda model, batch: model(batch)[:, 0], given)})

    prediction = found.observables["prediction"]
    assert np.abs((prediction.mean - prediction.centre) / prediction.se).max() < 5
    assert prediction.centre == pytest.approx((regression.model(given)[:, 0]).detach().numpy())


def test_observables_change_no_estimate_of_the_same_length(regression):
    plain = regression.estimate(None, relative_error=0.05)
    more = regression.estimate({"norm": lambda model: model.weight.norm()}, relative_error=0.05)

    shared = slice(0, 64)
    assert (plain.excess[shared] == more.excess[shared]).all()


@pytest.mark.parametrize(
    ("observables", "said"),
    [
        ([1], "must be a mapping of names"),
        ({"loss": (torch.ones(2, 3), torch.ones(2, 1))}, "other than loss, excess"),
        ({"a": lambda model: torch.tensor(math.nan)}, "a: must be finite"),
        ({"a": lambda model: torch.rand(())}, "must not be random"),
        ({"a": lambda model: model.missing}, "a: it raised AttributeError"),
        ({"a": nn.Linear(2, 2)}, "a module has weights of its own"),
        ({"a": (torch.ones(2, 3), torch.ones(3, 1))}, "a: data: rows of unequal number"),
        ({"a": (torch.ones(40_000, 3), torch.ones(40_000, 1))}, "at most 32,768 can be kept"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(regression, observables, said):
    with pytest.raises(SpecError, match=said):
        regression.estimate(observables)


def test_what_is_recorded_counts_towards_the_memory(regression):
    with pytest.raises(SpecError, match=r"take about 0\.39, observables included"):
        regression.estimate({"all": (regression.x, regression.y)}, memory_gb=0.3)


def test_a_function_of_another_model_is_noted(regression):
    found = regression.estimate({"norm": lambda _: regression.model.weight.norm().detach()})

    assert any("norm is the same at other weights" in note for note in found.notes)


def test_an_unknown_name_is_said(regression):
    found = regression.estimate({"norm": lambda model: model.weight.norm()}, relative_error=0.1)

    with pytest.raises(SpecError, match="no observable 'nrm'"):
        found.covariance("nrm", "loss")


def test_the_jackknife_has_the_error_of_slow_chains():
    """Chains that are correlated over 10 draws: errors of a covariance are those seen over 200 runs."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        noise = generator.normal(size=(400, 8))
        chain = np.empty_like(noise)
        chain[0] = noise[0]
        for at in range(1, 400):
            chain[at] = 0.8 * chain[at - 1] + 0.6 * noise[at]
        found.append(covariance(chain, chain))
    values, errors = (np.array([getattr(each, name) for each in found]) for name in ("value", "se"))
    assert values.mean() == pytest.approx(1.0, abs=0.02)
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.2)


def test_correlations_are_covariances_over_standard_deviations():
    draws = np.random.default_rng(5).standard_normal((400, 8, 2))
    first, second = draws[..., 0], 3.0 * (0.6 * draws[..., 0] + 0.8 * draws[..., 1])

    found = correlation(first, second)

    assert within(found, 0.6, errors=4.0)
    assert float(found.se) == pytest.approx((1 - 0.6**2) / math.sqrt(3200), rel=0.4)  # of normal draws
    assert float(correlation(first, -first).value) == -1.0
    assert np.isnan(correlation(first, np.ones((400, 8))).value)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_parameter_itself_is_recorded_at_every_draw(regression, one_by_one):
    """Chains one by one share the memory of the weights; the spread is that of the posterior."""

    def loss(model, batch):
        if one_by_one and float(batch[0].sum()) > float(model.weight.sum()) + 1e9:  # vmap cannot branch
            raise AssertionError
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    found = parsl_optuna.estimate_llc(
        regression.model,
        loss,
        (regression.x, regression.y),
        observables={"weights": lambda model: model.weight},
        budget_sec=30,
    )

    weights = found.observables["weights"]
    assert found.chains.startswith("one by one" if one_by_one else "together")
    spread = np.sqrt(np.diag(regression.covariance_of_weights()))
    assert weights.values.std((0, 1))[0] == pytest.approx(spread, rel=0.1)
    assert found.covariance("weights", "weights").value[0, :, 0].diagonal() == pytest.approx(
        spread**2, rel=0.2
    )


def test_arviz_reads_the_draws(regression):
    arviz = pytest.importorskip("arviz_base")
    found = regression.estimate(
        {"weights": lambda model: model.weight, "few": (regression.x[:4], regression.y[:4])}
    )

    posterior = arviz.from_dict({"posterior": found.draws})["posterior"]

    assert posterior["excess"].dims == ("chain", "draw")
    assert posterior["weights"].shape == (*posterior["excess"].shape, 1, 3)
    assert float(posterior["few"].mean()) == pytest.approx(float(found.observables["few"].mean.mean()))


def test_draws_are_saved_and_read_back(regression, tmp_path):
    found = regression.estimate({"weights": lambda model: model.weight})

    found.save(tmp_path / "draws.parquet")

    table = pyarrow.parquet.read_table(tmp_path / "draws.parquet")
    chains, draws = found.draws["excess"].shape
    assert table.num_rows == chains * draws
    shape = json.loads(table.schema.metadata[b"shapes"])["weights"]
    weights = np.array(table["weights"].to_pylist()).reshape(chains, draws, *shape)
    assert np.array_equal(weights, found.draws["weights"])
    assert np.array_equal(table["excess"].to_numpy().reshape(chains, draws), found.draws["excess"])
    assert json.loads(table.schema.metadata[b"estimate"])["llc"] == found.llc
