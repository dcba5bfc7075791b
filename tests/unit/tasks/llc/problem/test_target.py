import itertools
import math

import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.llc.problem import curvature
from parsl_optuna.tasks.llc.problem.centre import find_centre, gradient_norm
from parsl_optuna.tasks.llc.problem.data import generate, generator
from parsl_optuna.tasks.llc.problem.losses import MlpLoss, QuadraticLoss
from parsl_optuna.tasks.llc.problem.spec import Posterior, Training, bind, resolve
from parsl_optuna.tasks.llc.problem.target import examine, load, prepare

from tests.scenarios import Bench

TANH = {"model": {"kind": "mlp", "in_dim": 4, "out_dim": 1, "depth": 1, "hidden": 3, "activation": "tanh"}}


def problem(**data):
    return bind(resolve({"model": "small", "overrides": {"data": data}}, "t $"))


@pytest.mark.parametrize("x_dist", ["gauss_iso", "gauss_aniso", "mixture", "lowdim_manifold", "heavy_tail"])
@pytest.mark.parametrize("noise_model", ["gauss", "hetero", "student_t", "outliers"])
def test_data_are_finite_and_the_same_every_time(x_dist, noise_model):
    spec = problem(x_dist=x_dist, noise_model=noise_model)

    x, y = generate(spec)
    again = generate(spec)

    assert x.shape == (100, 4)
    assert y.shape == (100, 1)
    assert x.dtype == y.dtype == torch.float64
    assert bool(torch.isfinite(x).all() and torch.isfinite(y).all())
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])


def test_changing_the_noise_leaves_inputs_and_teacher_alone():
    quiet, loud = generate(problem(noise_scale=0.0)), generate(problem(noise_scale=1.0))

    assert torch.equal(quiet[0], loud[0])
    assert float((loud[1] - quiet[1]).std()) == pytest.approx(1.0, rel=0.25)


def test_heavy_tails_have_the_variance_of_student_t():
    """Var = df / (df - 2) = 2 for df = 4 is slow to converge; df = 10 gives 1.25."""
    x, _ = generate(problem(n_data=20_000, x_dist="heavy_tail", student_df=10.0))

    assert float(x.var()) == pytest.approx(1.25, rel=0.06)


def test_linear_regression_is_solved_exactly():
    spec = bind(resolve({"model": "linear"}, "t $"))
    x, y = generate(spec)
    expected = torch.linalg.lstsq(x, y).solution.flatten()
    loss = MlpLoss(x, y, (8, 1), "identity", False)

    found = find_centre(loss, torch.zeros(8, dtype=torch.float64), Training(steps=100))

    assert torch.allclose(found, expected, atol=1e-8)
    assert torch.allclose(curvature.hessian(loss, found), 2 * x.T @ x / len(x), atol=1e-6)


def test_a_smooth_network_is_driven_to_stationarity(tmp_path):
    bench = Bench(TANH, tmp_path)

    target = load(bench.problem, tmp_path)

    assert target.summary.gradient_norm < 1e-3
    assert target.summary.min_eigenvalue is not None
    assert target.summary.min_eigenvalue > -1e-3
    assert abs(target.summary.centre_bias or 0.0) < 1e-5
    assert float(target.loss.value(target.centre.unsqueeze(0))) == pytest.approx(target.summary.L0, rel=1e-14)


def test_a_large_network_is_polished_by_lbfgs(generator):
    x = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    loss = MlpLoss(x, x[:, :1].sin(), (5, 200, 1), "tanh", True)
    assert loss.dim > curvature.EXACT_LIMIT
    start = 0.1 * torch.randn(loss.dim, generator=generator, dtype=torch.float64)

    trained = find_centre(loss, start, Training(steps=200, polish_steps=0))
    polished = find_centre(loss, start, Training(steps=200, polish_steps=100))

    assert gradient_norm(loss, polished) < 0.01 * gradient_norm(loss, trained)


def test_building_twice_gives_the_same_bytes(tmp_path):
    resolved = resolve({"model": "small"}, "t $")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        prepare(resolved, tmp_path / name)

    assert (tmp_path / "a/target.npz").read_bytes() == (tmp_path / "b/target.npz").read_bytes()
    assert (tmp_path / "a/target.json").read_bytes() == (tmp_path / "b/target.json").read_bytes()


def test_the_estimated_diagonal_and_eigenvalue_are_right(generator):
    curvatures = torch.linspace(0.1, 5.0, 40, dtype=torch.float64)
    loss, at = QuadraticLoss(curvatures, 0.0, 10, 1.0), torch.zeros(40, dtype=torch.float64)

    assert torch.allclose(curvature.diagonal_estimate(loss, at, generator), curvatures, atol=1e-6)
    assert curvature.largest_eigenvalue(loss, at, generator) == pytest.approx(5.0, rel=0.05)


def test_streams_depend_on_seed_and_purpose():
    spec = problem()
    first, second = generator(spec, "inputs"), generator(spec, "noise")

    assert first.initial_seed() != second.initial_seed()
    assert first.initial_seed() == generator(spec, "inputs").initial_seed()


def test_the_temperature_is_the_documented_one():
    posterior = problem().posterior

    assert posterior.beta(1000) == pytest.approx(1 / math.log(1000))
    assert posterior.beta(2) == pytest.approx(1 / math.log(3))
    assert posterior.localiser(45) == 1.0
    wide = bind(resolve({"model": "small", "posterior": {"prior_radius": 3.0}}, "t $")).posterior
    assert wide.localiser(45) == pytest.approx(5.0)


def ticking(seconds):
    """A deadline on a clock that advances by one second per look."""
    clock = itertools.count()
    return Deadline(seconds, now=lambda: float(next(clock)))


def small_network():
    spec = bind(resolve({"model": "small"}, "t $"))
    x, y = generate(spec)
    return MlpLoss(x, y, (4, 6, 1), "tanh", True)


@pytest.mark.parametrize("limit", [curvature.EXACT_LIMIT, 5], ids=["newton", "lbfgs"])
def test_a_polish_ends_with_its_deadline_at_the_best_so_far(monkeypatch, limit):
    monkeypatch.setattr("parsl_optuna.tasks.llc.problem.centre.EXACT_LIMIT", limit)
    loss = small_network()
    start = 0.5 * torch.randn(loss.dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    barely, some, all_of_it = (
        find_centre(loss, start, Training(steps=0, polish_steps=10), deadline=ticking(seconds))
        for seconds in (1, 40, 10**6)
    )

    values = [float(loss.value(w.unsqueeze(0))) for w in (start, barely, some, all_of_it)]
    assert values[0] >= values[1] >= values[2] >= values[3]
    assert values[0] > values[3]


def test_an_examination_without_time_says_what_it_knows():
    loss = small_network()
    centre = torch.zeros(loss.dim, dtype=torch.float64)

    diagonal, summary = examine(loss, centre, Posterior(), torch.Generator().manual_seed(0), ticking(3))

    assert float(loss.value(centre.unsqueeze(0))) == summary.L0
    assert summary.centre_bias is summary.max_eigenvalue is None
    assert not summary.has_exact_diagonal
    assert torch.equal(diagonal, torch.zeros_like(centre))


def test_curvature_in_single_precision_is_close():
    loss = small_network()
    x, y = loss._x.float(), loss._y.float()
    single = MlpLoss(x, y, (4, 6, 1), "tanh", True)
    centre = 0.5 * torch.randn(loss.dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    exact, rough = curvature.hessian(loss, centre), curvature.hessian(single, centre.float())

    assert float((exact - rough).norm()) < 0.02 * float(exact.norm())
