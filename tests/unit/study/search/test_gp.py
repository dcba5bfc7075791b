import numpy as np
import pytest
from parsl_optuna.study.search import gp
from scipy.stats import multivariate_normal

CHOICES = (0, 0, 3)


def some_points(count, seed=0):
    generator = np.random.default_rng(seed)
    return np.column_stack([generator.random((count, 2)), generator.integers(0, 3, count)]).astype(float)


def kernel(a, b, h):
    """Return the covariance of two sets of points, written out."""
    squares = ((a[:, None, :2] - b[None, :, :2]) / h.lengths[:2]) ** 2
    r = np.sqrt(squares.sum(-1) + (a[:, None, 2] != b[None, :, 2]) / h.lengths[2] ** 2)
    return h.signal * (1 + 5**0.5 * r + 5 * r**2 / 3) * np.exp(-(5**0.5) * r)


H = gp.Hyperparameters(np.array([0.4, 1.3, 0.7]), 1.2, 0.05)


def posterior(points, values, running=None):
    running = np.empty((0, 3)) if running is None else running
    return gp.Posterior(points, values, running, H, CHOICES)


def test_mean_and_deviation_are_those_of_the_conditional_normal_distribution():
    points, new = some_points(12), some_points(5, seed=1)
    values = np.sin(5 * points[:, 0]) + points[:, 2]
    inverse = np.linalg.inv(kernel(points, points, H) + H.noise * np.eye(12))
    cross = kernel(points, new, H)

    mean, deviation = posterior(points, values).predict(new)

    assert mean == pytest.approx(cross.T @ inverse @ values, rel=1e-5)
    expected = np.sqrt(H.signal - np.einsum("ij,ik,kj->j", cross, inverse, cross))
    assert deviation == pytest.approx(expected, rel=1e-5)


def test_running_trials_change_no_mean_and_make_their_neighbourhood_certain():
    points, running = some_points(12), some_points(4, seed=2)
    values = np.sin(5 * points[:, 0])

    before, unsure = posterior(points, values).predict(running)
    after, sure = posterior(points, values, running).predict(running)

    assert after == pytest.approx(before, rel=1e-9)
    assert (sure < 0.5 * unsure).all()


def test_the_gradient_is_that_of_the_prediction():
    points, at, free = some_points(12), some_points(1, seed=3)[0], np.array([0, 1])
    model = posterior(points, np.sin(5 * points[:, 0]), some_points(3, seed=4))
    steps = 1e-6 * np.eye(3)[:2]

    mean, deviation, d_mean, d_deviation = model.gradient(at, free)

    above, below = model.predict(at + steps), model.predict(at - steps)
    assert (mean, deviation) == pytest.approx([float(one[0]) for one in model.predict(at[None, :])])
    assert d_mean == pytest.approx((above[0] - below[0]) / 2e-6, rel=1e-4, abs=1e-6)
    assert d_deviation == pytest.approx((above[1] - below[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_the_loss_is_the_negative_log_density_up_to_a_constant_and_its_gradient_is_right():
    points = some_points(10)
    values = np.sin(5 * points[:, 0])
    distances = gp._distances(points, CHOICES)
    theta = np.log([*H.lengths, H.signal, H.noise])

    value, gradient = gp._loss(theta, distances, values)

    covariance = kernel(points, points, H) + H.noise * np.eye(10)
    density = multivariate_normal(np.zeros(10), covariance).logpdf(values)
    assert value == pytest.approx(-density - 5 * np.log(2 * np.pi), rel=1e-5)
    for i, slope in enumerate(gradient):
        step = 1e-6 * np.eye(5)[i]
        above, below = (gp._loss(theta + sign * step, distances, values)[0] for sign in (1, -1))
        assert slope == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-6)


def test_a_parameter_without_effect_gets_a_longer_length():
    points = some_points(60)
    values = np.sin(6 * points[:, 0])

    found = gp.fit(points, values, CHOICES)

    assert found.lengths[0] < 0.5 * min(found.lengths[1:])


def test_numbers_that_are_alike_have_one_length_and_a_category_its_own():
    points = some_points(60)
    values = np.sin(6 * points[:, 0]) + points[:, 2]

    found = gp.fit(points, values, CHOICES, alike=True)

    assert found.lengths[0] == found.lengths[1] != found.lengths[2]


def test_a_space_of_categories_alone_keeps_a_length_for_each():
    points = some_points(60)[:, [2, 2]]
    points[:, 1] = points[::-1, 1]
    values = points[:, 0]

    apart, alike = (gp.fit(points, values, (3, 3), alike=one) for one in (False, True))

    assert alike.lengths == pytest.approx(apart.lengths)


def test_a_part_of_the_points_holds_the_better_half():
    values = np.random.default_rng(0).permutation(1000).astype(float)

    chosen = gp.spread(values, 100)

    assert len(set(chosen)) == 100
    assert (np.sort(values[chosen])[:50] == np.arange(50)).all()
    assert values[chosen].max() == 999
