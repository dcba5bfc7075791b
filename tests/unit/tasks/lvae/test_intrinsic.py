import numpy as np
import pytest
from parsl_optuna.tasks.lvae.designs import FAMILIES
from parsl_optuna.tasks.lvae.intrinsic import _some, intrinsic_dim


def made(name, points):
    return FAMILIES[name].make(points, 16).reshape(len(points), -1)


@pytest.mark.parametrize("name", FAMILIES)
def test_neighbours_tell_the_number_of_parameters(name):
    found = [
        intrinsic_dim(made(name, np.random.default_rng(seed).random((320, FAMILIES[name].dim))))
        for seed in (1, 2, 3)
    ]

    assert found.count(FAMILIES[name].dim) >= 2


@pytest.mark.parametrize("name", ["disk2", "bars", "frame", "curve", "linear"])
def test_designs_on_a_grid_of_parameters_tell_nothing(name):
    dim = FAMILIES[name].dim
    axis = np.linspace(0, 1, round(400 ** (1 / dim)))
    points = np.stack(np.meshgrid(*[axis] * dim), axis=-1).reshape(-1, dim)

    assert intrinsic_dim(made(name, points)) is None


def test_copies_count_once_and_few_designs_tell_nothing():
    sheet = made("sheet", np.random.default_rng(0).random((320, 2)))

    assert intrinsic_dim(np.repeat(sheet, 3, axis=0)) == 2
    assert intrinsic_dim(sheet[:20]) is None
    assert intrinsic_dim(np.repeat(sheet[:3], 200, axis=0)) is None


def test_of_a_large_sorted_set_a_random_subset_is_read():
    """The first 2,000 of 40,000 disks in order of their radius have nearly one radius: they read 2."""
    points = np.random.default_rng(1).random((40_000, 3))
    disks = made("disk3", points[points[:, 2].argsort()])

    assert intrinsic_dim(disks[:2000]) == 2
    assert intrinsic_dim(disks) == intrinsic_dim(disks) == 3


@pytest.mark.parametrize("count", [33, 400, 2000])
def test_up_to_2000_designs_are_all_looked_at(count):
    """So what version 5 of the task read, the first 2,000, holds for these: the subset is the set itself."""
    designs = made("sheet", np.random.default_rng(0).random((2001, 2)))

    assert np.array_equal(_some(designs[:count]), designs[:count])
    assert len(np.unique(_some(designs), axis=0)) == 2000
    assert not np.array_equal(_some(designs), designs[:2000])
