import numpy as np
import pytest
from parsl_optuna.tasks.lvae import simp
from parsl_optuna.tasks.lvae.simp import _elastic, _Elements, _thermal


def compliance(densities, side):
    """Return the work of the load of an MBB beam with the load in its corner, solved anew."""
    force = np.zeros(2 * (side + 1) * (2 * side + 1))
    force[1] = -1.0
    fixed = np.union1d(np.arange(0, 2 * (side + 1), 2), [len(force) - 1])
    elements = _Elements(side, 2 * side, 2, _elastic(), fixed)
    return float(force @ elements.solve(1e-9 + densities.T.ravel() ** 3, force))


def test_a_beam_is_far_stiffer_than_the_same_material_spread_out():
    side = 20
    fraction = 0.35
    beam = simp.beam(fraction, 1.0, 0.0, side, 2 * side)

    assert beam.shape == (side, 2 * side)
    assert beam.mean() == pytest.approx(fraction, abs=0.01)
    assert compliance(beam, side) < 0.35 * compliance(np.full(beam.shape, fraction), side)


def test_a_beam_is_about_as_stiff_as_published_ones():
    """EngiBench's default, volume 0.35, radius 2, load 0: compliance 127.6 of its own optimiser."""
    beam = simp.beam(0.35, 2.0, 0.0, 50, 100)

    assert compliance(beam, 50) == pytest.approx(127.6, rel=0.03)


def test_a_design_of_a_large_mesh_is_as_good_as_one_without_a_coarse_start(monkeypatch):
    def found(coarse_rows):
        monkeypatch.setattr(simp, "_COARSE_ROWS", coarse_rows)
        return compliance(simp.beam(0.35, 3.0, 0.0, 32, 64), 32)

    assert found(16) < 1.03 * found(32)


def test_beams_are_squeezed_into_squares_with_their_mass():
    (square,) = simp.beams(np.array([[0.8, 0.2, 0.0]]), 16)

    assert square.shape == (16, 16)
    assert square.mean() == pytest.approx(0.35, abs=0.01)


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
    number = np.arange((side + 1) ** 2).reshape(side + 1, side + 1)
    edge = np.unique(np.concatenate([number[0], number[-1], number[:, 0], number[:, -1]]))
    source = np.full(number.size, 1.0 / side**2)
    heat = _Elements(side, side, 1, _thermal(), edge).solve(np.ones(side**2), source)

    assert heat[number[side // 2, side // 2]] == pytest.approx(0.0736713, rel=2e-3)
