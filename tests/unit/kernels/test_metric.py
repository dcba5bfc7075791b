import pytest
import torch
from parsl_optuna.kernels.metric import Metric, fit, isotropic

from tests.unit.kernels.gaussian import potential


def random_metric(generator, dim=6, k=2):
    basis = torch.linalg.qr(torch.randn(dim, k, generator=generator, dtype=torch.float64))[0]
    sd = torch.rand(dim, generator=generator, dtype=torch.float64) + 0.5
    return Metric(torch.ones(dim, dtype=torch.float64), sd, basis, torch.tensor([0.1, 3.0]).double())


def gaussian_draws(covariance, n, generator):
    """Return draws and the gradients of U there."""
    root = torch.linalg.cholesky(covariance)
    z = torch.randn(n, len(covariance), generator=generator, dtype=torch.float64)
    w = z @ root.T
    return w, torch.linalg.solve(covariance, w.T).T


def correlated(generator, dim, stiff):
    """A covariance with a few stiff directions that are no axes, and scales over two decades."""
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]
    spectrum = torch.ones(dim, dtype=torch.float64)
    spectrum[:stiff] = 1e-4
    return rotation @ torch.diag(spectrum) @ rotation.T


def condition(metric, covariance):
    """Return the condition number of the posterior in the metric's coordinates."""
    eye = torch.eye(len(covariance), dtype=torch.float64)
    precision = torch.linalg.inv(covariance)
    hessian = torch.stack([metric.pulled(precision @ (metric.position(e) - metric.centre)) for e in eye])
    values = torch.linalg.eigvalsh(0.5 * (hessian + hessian.T))
    return float(values[-1] / values[0])


def test_the_plain_metric_has_the_scales_alone(generator):
    metric = random_metric(generator)
    z = torch.randn(5, 6, generator=generator, dtype=torch.float64)

    assert torch.allclose(metric.plain().position(z), metric.centre + metric.sd * z)


def test_coordinates_invert_positions(generator):
    metric = random_metric(generator)
    z = torch.randn(5, 6, generator=generator, dtype=torch.float64)

    assert torch.allclose(metric.coordinates(metric.position(z)), z)


def test_gradients_are_those_of_autograd_and_come_back(generator):
    metric = random_metric(generator)
    energy = potential(torch.arange(1, 7).double())
    z = torch.randn(5, 6, generator=generator, dtype=torch.float64, requires_grad=True)

    value, gradient = metric.potential(energy)(z.detach(), generator)
    (expected,) = torch.autograd.grad(energy(metric.position(z), generator)[0].sum(), z)

    assert torch.allclose(gradient, expected)
    assert torch.allclose(value, energy(metric.position(z.detach()), generator)[0])
    there = energy(metric.position(z.detach()), generator)[1]
    assert torch.allclose(metric.pushed(metric.pulled(there)), there)


def test_many_draws_make_any_gaussian_round(generator):
    covariance = correlated(generator, 20, 5)
    w, gradient = gaussian_draws(covariance, 1000, generator)

    metric = fit(w, gradient, isotropic(torch.zeros(20, dtype=torch.float64), 1.0))

    assert condition(metric, covariance) < 2.0


def test_few_draws_find_the_stiff_directions(generator):
    covariance = correlated(generator, 300, 5)
    w, gradient = gaussian_draws(covariance, 200, generator)

    metric = fit(w, gradient, isotropic(torch.zeros(300, dtype=torch.float64), 1.0))

    assert len(metric.stretch) < 30
    assert condition(metric, covariance) < 1e4 / 20


def test_draws_without_a_stiff_direction_give_the_scales_alone():
    ones = torch.ones(8, 1, dtype=torch.float64)  # no direction stands out
    w = torch.cat((torch.eye(8, dtype=torch.float64), -torch.eye(8, dtype=torch.float64)))

    metric = fit(w, w.clone(), isotropic(torch.zeros(8, dtype=torch.float64), 1.0))

    assert metric.basis.shape == (8, 0)
    assert torch.equal(metric.position(ones[:, 0]), metric.sd)


@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_scales_that_are_no_numbers_fall_back_to_the_prior(generator, bad):
    w = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    w[:, 1] = bad

    metric = fit(w, w.clone().nan_to_num(), isotropic(torch.zeros(3, dtype=torch.float64), 0.5))

    assert bool(torch.isfinite(metric.sd).all())
    assert float(metric.sd[1]) == pytest.approx(0.5)
