"""Normal laws around a point: their draws, energies and evidence are those of the precision M + gamma."""

import pytest
import torch
from parsl_optuna.kernels import normal
from parsl_optuna.kernels.normal import Normal

CENTRE = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
STIFFNESS = torch.tensor([0.0, 3.0, 50.0], dtype=torch.float64)
TURN = torch.linalg.qr(torch.arange(9.0, dtype=torch.float64).reshape(3, 3).sin())[0]


def law(whole):
    basis = TURN if whole else torch.zeros(3, 0, dtype=torch.float64)
    return Normal(CENTRE, STIFFNESS, basis, 2.0)


def precision(whole):
    basis = TURN if whole else torch.eye(3, dtype=torch.float64)
    return basis @ torch.diag(STIFFNESS + 2.0) @ basis.T


@pytest.mark.parametrize("whole", [False, True])
def test_draws_have_the_covariance(whole):
    w = law(whole).draws(40_000, torch.Generator().manual_seed(0))

    seen = (w - CENTRE).T @ (w - CENTRE) / len(w) @ precision(whole)

    assert torch.allclose(seen, torch.eye(3, dtype=torch.float64), atol=0.15)


@pytest.mark.parametrize("whole", [False, True])
def test_the_energy_and_its_gradient_are_those_of_the_precision(whole):
    w = CENTRE + torch.tensor([[0.3, -0.2, 0.1], [1.0, 0.0, 2.0]], dtype=torch.float64)
    shift = w - CENTRE

    energy, gradient = law(whole).energy(w, torch.Generator())

    assert torch.allclose(gradient, shift @ precision(whole))
    assert torch.allclose(energy, 0.5 * (shift * gradient).sum(1))
    assert torch.allclose(law(whole).local(w), energy - shift.square().sum(1))  # gamma / 2 = 1


def test_the_evidence_is_relative_to_that_of_the_prior():
    assert law(whole=True).log_evidence == pytest.approx(-0.5 * float(torch.log1p(STIFFNESS / 2.0).sum()))
    assert normal.prior(CENTRE, 2.0).log_evidence == 0.0
