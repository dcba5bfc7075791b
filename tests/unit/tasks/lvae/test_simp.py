import numpy as np
import pytest
from parsl_optuna.tasks.lvae import simp
from parsl_optuna.tasks.lvae.simp import _elastic, _Elements, _thermal


def compliance(densities, side):
    """Return the work of the load of an MBB beam with the load in its corner, solved anew."""
    elements = _Elements(side, 2, _elastic())
    force = np.zeros(2 * (side + 1) ** 2)
    force[1] = -1.0
    fixed = np.union1d(np.arange(0, 2 * (side + 1), 2), [len(force) - 1])
    return float(force @ elements.solve(1e-9 + densities.T.ravel() ** 3, force, fixed))


def test_a_beam_is_far_stiffer_than_the_same_material_spread_out():
    side = 20
    (beam,) = simp.beams(np.array([[0.8, 0.2, 0.0]]), side)
    fraction = 0.15 + 0.25 * 0.8

    assert beam.mean() == pytest.approx(fraction, abs=0.01)
    assert compliance(beam, side) < 0.35 * compliance(np.full((side, side), fraction), side)


def test_a_heat_sink_is_symmetric_and_uses_what_it_may():
    (sink,) = simp.heat_sinks(np.array([[0.5, 0.5]]), 16)

    assert sink.mean() == pytest.approx(0.45, abs=0.01)
    assert np.abs(sink - sink[:, ::-1]).max() < 1e-6


def test_the_element_matrices_are_those_of_rigid_bodies():
    """No strain energy in translations and in a small rotation, no flux at constant temperature."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    rotation = np.stack([-corners[:, 1], corners[:, 0]], axis=1).ravel()
    for motion in (np.tile([1.0, 0.0], 4), np.tile([0.0, 1.0], 4), rotation):
        assert np.abs(_elastic() @ motion).max() < 1e-12
    assert np.abs(_thermal() @ np.ones(4)).max() < 1e-12


def test_heat_flows_as_the_series_says():
    """Laplace on the unit square, zero on all sides, unit source: 0.0736713 in the middle."""
    side = 32
    elements = _Elements(side, 1, _thermal())
    number = np.arange((side + 1) ** 2).reshape(side + 1, side + 1)
    edge = np.unique(np.concatenate([number[0], number[-1], number[:, 0], number[:, -1]]))
    source = np.full(number.size, 1.0 / side**2)
    heat = elements.solve(np.ones(side**2), source, edge)

    assert heat[number[side // 2, side // 2]] == pytest.approx(0.0736713, rel=2e-3)
