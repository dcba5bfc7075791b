import math

import pytest
import torch
from parsl_optuna.kernels import hmc, langevin, random_reshuffling, sgld
from parsl_optuna.kernels.metric import isotropic
from parsl_optuna.tasks.llc.answer.control_variates import LossCoordinates
from parsl_optuna.tasks.llc.answer.observables import Observer

from tests.scenarios import noisy_regression


@pytest.fixture
def observer(tmp_path):
    estimand = noisy_regression(tmp_path)
    mask = torch.zeros_like(estimand.centre)
    mask[:2] = 1.0
    return Observer(estimand, isotropic(estimand.centre, 0.5), LossCoordinates(estimand.centre + 0.1, mask))


def expected(observer, w, generator):
    """Return the observables at *w* from their definitions."""
    estimand, held = observer.estimand, observer.loss_coordinates
    _, gradient = estimand.energy(w, generator)
    shift = w - estimand.centre
    return {
        "excess": estimand.t * (estimand.target.loss.value(w) - estimand.L0),
        "radius": 0.5 * estimand.gamma * shift.square().sum(-1),
        "virial": (shift * gradient).sum(-1),
        "loss_virial": ((w - held.centre) * gradient)[:, :2].sum(-1),
    }


def assert_same(seen, wanted):
    assert set(seen) == set(wanted)
    for name, value in seen.items():
        assert torch.allclose(value, wanted[name], rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("kernel", ["hmc", "langevin"])
def test_chains_on_all_data_are_seen_as_defined(observer, generator, kernel):
    potential = observer.metric.potential(observer.estimand.energy)
    z = torch.randn(4, observer.estimand.dim, generator=generator).double()
    state = {"hmc": hmc.init, "langevin": langevin.init}[kernel](z, generator, potential=potential)

    seen = observer.all_data(None, state)

    assert_same(seen, expected(observer, observer.metric.position(z), generator))


def test_chains_on_parts_are_seen_with_the_gradient_of_all_data(observer, generator):
    estimand, metric = observer.estimand, observer.metric
    parts = [metric.potential(part) for part in estimand.parts(4, generator)]
    energies = random_reshuffling.Energies(parts, metric.potential(estimand.energy))
    kernel = random_reshuffling.build(energies, random_reshuffling.Params(0.01, every=3))
    state = kernel.init(torch.randn(4, estimand.dim, generator=generator).double(), generator)
    for _ in range(3):
        state, _ = kernel.step(state, generator)

    seen = observer.minibatches(None, state)

    assert_same(seen, expected(observer, metric.position(state.at.position), generator))


def test_a_minibatch_is_seen_where_it_was_drawn(observer, generator):
    estimand, metric = observer.estimand, observer.metric
    potential = metric.potential(estimand.energy)  # a minibatch of all examples
    kernel = sgld.build(potential, potential, sgld.Params(0.01))
    before = kernel.init(torch.randn(4, estimand.dim, generator=generator).double(), generator)
    after, _ = kernel.step(before, generator)

    seen = observer.batches(before, after)

    assert_same(seen, expected(observer, metric.position(before.position), generator))


def test_what_is_known_is_what_chains_in_equilibrium_show(observer, generator):
    """The posterior of a linear regression is normal: draws of it are exact."""
    estimand, metric = observer.estimand, observer.metric
    potential = metric.potential(estimand.energy)
    zero = torch.zeros(1, estimand.dim).double()
    bottom = potential(zero, generator)[1]
    hessian = torch.cat(
        [potential(unit.unsqueeze(0), generator)[1] - bottom for unit in torch.eye(len(zero[0])).double()]
    )
    lower = torch.linalg.cholesky(torch.linalg.inv(0.5 * (hessian + hessian.T)))
    z = torch.randn(40_000, estimand.dim, generator=generator).double() @ lower.T
    z -= torch.linalg.solve(hessian, bottom[0])

    seen = observer.all_data(None, langevin.init(z, generator, potential=potential))

    for name, mean in observer.known.items():
        error = float(seen[name].std()) / math.sqrt(len(z))
        assert abs(float(seen[name].mean()) - mean) < 4 * error, name
