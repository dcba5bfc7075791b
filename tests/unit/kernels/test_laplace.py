"""The normal approximation, against normal laws of known precision."""

import math

import numpy as np
import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels import laplace

T, GAMMA, DRAWS = 100.0, 2.0, 400
CURVATURES = torch.tensor([*np.geomspace(0.1, 300.0, 20), *np.linspace(0.0, 1e-3, 400)])


def posterior(curvatures, error=0.0):
    """A quadratic loss, whose products may be off by a relative *error*."""
    stream = torch.Generator().manual_seed(5)

    def products(vectors):
        exact = curvatures * vectors
        noise = torch.randn(exact.shape, generator=stream, dtype=exact.dtype)
        return exact + error * exact.norm(dim=1, keepdim=True) / math.sqrt(len(curvatures)) * noise

    return laplace.Posterior(products, T, GAMMA)


def shares(curvatures):
    stiffness = T * curvatures
    return stiffness / (stiffness + GAMMA)


def normal(precision):
    """The normal law of independent coordinates."""
    return torch.distributions.Independent(torch.distributions.Normal(0.0 * precision, precision.rsqrt()), 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("way", ["whole", "krylov"])
def test_draws_and_traces_are_those_of_the_normal_law(way, dtype):
    curvatures, stream = CURVATURES.to(dtype), torch.Generator().manual_seed(1)
    if way == "whole":
        drawn = laplace.whole(posterior(curvatures), curvatures).draw(DRAWS, stream)
    else:
        found = laplace.krylov(posterior(curvatures), DRAWS, curvatures, stream, Deadline())
        assert found is not None
        drawn = found

    excess = 0.5 * T * (curvatures * drawn.shift.square()).sum(1)[drawn.is_local]
    llc = 0.5 * float(shares(CURVATURES).sum())
    volume = 0.5 * float(torch.log1p(T * CURVATURES / GAMMA).sum())
    near, prior = normal(T * CURVATURES + GAMMA), normal(torch.full_like(CURVATURES, GAMMA))
    share = float(drawn.is_local.double().mean())
    shift = drawn.shift.double()
    density = near.log_prob(shift) + math.log(share)
    if share < 1.0:
        density = torch.logaddexp(density, prior.log_prob(shift) + math.log(1.0 - share))
    constant = drawn.energy + density

    assert drawn.is_settled
    assert share == (0.875 if way == "whole" else 1.0)
    assert float(excess.mean()) == pytest.approx(llc, abs=4 * float(excess.std()) / math.sqrt(len(excess)))
    assert torch.allclose(constant, constant.mean(), rtol=0.0, atol=0.3)
    for seen, known in ((drawn.llc, llc), (drawn.log_volume, volume)):
        assert float(seen.mean()) == pytest.approx(
            known, abs=1e-3 * known + 4 * float(seen.std()) / math.sqrt(DRAWS)
        )


def test_variances_are_right_along_stiff_and_soft_directions_alike():
    stream = torch.Generator().manual_seed(2)

    drawn = laplace.krylov(posterior(CURVATURES), 800, CURVATURES, stream, Deadline())

    assert drawn is not None
    scaled = drawn.shift.square() * (T * CURVATURES + GAMMA)
    assert torch.allclose(scaled.mean(0), torch.ones_like(CURVATURES), atol=5 * math.sqrt(2 / 800))


def test_a_direction_that_curves_downwards_is_as_wide_as_the_prior():
    stream = torch.Generator().manual_seed(3)
    curvatures = torch.tensor([-1e6, 1.0])

    drawn = laplace.whole(posterior(curvatures), curvatures).draw(4000, stream)

    assert drawn.shift[drawn.is_local].var(0).tolist() == pytest.approx([1 / GAMMA, 1 / (T + GAMMA)], rel=0.1)


def test_products_that_are_too_coarse_are_told():
    stream = torch.Generator().manual_seed(4)

    drawn = laplace.krylov(posterior(CURVATURES, error=1e-3), 20, CURVATURES, stream, Deadline())

    assert drawn is not None
    assert not drawn.is_settled
    assert not drawn.is_cut


def test_a_deadline_ends_the_steps_and_is_told():
    class Soon:
        left = 12

        @property
        def expired(self):
            self.left -= 1
            return self.left < 0

    stream = torch.Generator().manual_seed(6)
    wide = torch.tensor(np.geomspace(1e-4, 1e4, 500))

    drawn = laplace.krylov(posterior(wide), 3, wide, stream, Soon())
    nothing = laplace.krylov(posterior(wide), 3, wide, stream, Deadline(1e-9))

    assert drawn is not None
    assert not drawn.is_settled
    assert drawn.is_cut
    assert nothing is None


def test_a_hessian_of_low_rank_needs_no_more_steps_than_its_rank():
    calls = []
    curvatures = torch.zeros(3000)
    curvatures[:3] = torch.tensor([1.0, 2.0, 5.0])
    exact = posterior(curvatures)

    def counted(vectors):
        calls.append(len(vectors))
        return exact.products(vectors)

    stream = torch.Generator().manual_seed(7)
    drawn = laplace.krylov(exact._replace(products=counted), 2, curvatures, stream, Deadline())

    assert drawn is not None
    assert drawn.is_settled
    assert len(calls) <= 6  # a step for 0 as well, one that finds nothing new, and the check
