import itertools
import time

import yaml
from parsl_optuna.study.plan.sweep.file import read_sweep
from parsl_optuna.study.plan.sweep.points import grid, grid_size, random_points


def written(folder, parameters, method="grid"):
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({"method": method, "program": "p.py", "parameters": parameters}))
    return path


def test_a_grid_goes_through_names_in_order_the_last_one_fastest(tmp_path):
    parameters = {"b": {"values": ["x", "y"]}, "a": {"min": 1, "max": 2}, "c": {"value": [1]}}
    sweep = read_sweep(written(tmp_path, parameters))

    assert [(p["a"], p["b"], p["c"]) for p in grid(sweep)] == [
        (1, "x", [1]),
        (1, "y", [1]),
        (2, "x", [1]),
        (2, "y", [1]),
    ]


def test_equal_points_of_a_grid_come_once(tmp_path):
    sweep = read_sweep(written(tmp_path, {"a": {"values": [{"k": 1}, {"k": 1}, 3]}}))

    assert [p["a"] for p in grid(sweep)] == [{"k": 1}, 3]


def test_equal_numbers_are_one_value_and_the_last_one_stands(tmp_path):
    sweep = read_sweep(written(tmp_path, {"a": {"values": [1, 2, 1.0, True]}}))

    assert [repr(p["a"]) for p in grid(sweep)] == ["1.0", "2", "True"]


def test_a_grid_of_ten_million_points_begins_at_once(tmp_path):
    sweep = read_sweep(written(tmp_path, {name: {"min": 1, "max": 10} for name in "abcdefg"}))
    began = time.process_time()

    first = list(itertools.islice(grid(sweep), 3))

    assert grid_size(sweep) == 10**7
    assert [(p["f"], p["g"]) for p in first] == [(1, 1), (1, 2), (1, 3)]
    assert time.process_time() - began < 0.1


def test_random_points_do_not_depend_on_how_many_there_are(tmp_path):
    sweep = read_sweep(written(tmp_path, {"a": {"min": 0.0, "max": 1.0}}, method="random"))

    assert list(random_points(sweep, 9, 1))[:3] == list(random_points(sweep, 3, 1))
    assert list(random_points(sweep, 3, 1)) != list(random_points(sweep, 3, 2))
