"""What a second run of a command tells of what was edited since the first one."""

import pytest
from parsl_optuna import Study

FUNCTION = """
from pathlib import Path

def f(x, kind):
    with open({name}, encoding="utf-8") as stream:
        truth = float(stream.read())
    return {{"loss": (x - truth) ** 2, "truth": truth}}
"""
SPACE = {"x": {"low": -1.0, "high": 1.0}, "kind": {"choices": ["a", "b"]}}
OPTUNA = {"max_trials": 3, "batch_size": 1, "confirm": 0, "method_budget_sec": 30, "sampler": "random"}


def ran(space=SPACE, **optuna):
    problems = [{"function": "objective.py:f"}]
    study = Study(task="function", problems=problems, space=space, **OPTUNA | optuna)
    return study.run("inline")


def kinds(study):
    return {one["kind"] for one in study.trials()["hyperparams"]}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write the function, which reads a file of a given expression, and its data."""
    monkeypatch.chdir(tmp_path)

    def write(name="'data.csv'"):
        (tmp_path / "objective.py").write_text(FUNCTION.format(name=name), encoding="utf-8")
        (tmp_path / "data.csv").write_text("0.5", encoding="utf-8")

    write()
    return write


@pytest.mark.parametrize(
    "name",
    ["'data.csv'", "Path(__file__).with_name('data.csv')", "Path(__file__).parent / ('data' + '.csv')"],
)
def test_an_edited_file_that_trials_read_is_told(written, tmp_path, capsys, name):
    written(name)
    ran()
    assert "changed since" not in capsys.readouterr().err
    (tmp_path / "data.csv").write_text("7", encoding="utf-8")

    ran()

    assert "warning: data.csv changed since trials ran that imported or read it" in capsys.readouterr().err


def test_nothing_is_told_where_nothing_was_edited(written, capsys):
    ran()

    ran(max_trials=4)

    assert "warning" not in capsys.readouterr().err


def test_trials_outside_of_a_narrower_space_leave_the_table_not_without_a_word(written, capsys):
    before = kinds(ran())
    capsys.readouterr()

    after = kinds(ran(SPACE | {"kind": {"choices": ["a"]}}))

    assert before == {"a", "b"}
    assert after == {"a"}
    assert "that are no trials of this configuration any more" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [{"kind": {"choices": ["a", "b", "c"]}}, {"x": {"low": -9.0, "high": 9.0}}]
)
def test_a_wider_space_of_which_nothing_was_tried_is_told(written, capsys, change):
    ran()
    capsys.readouterr()

    ran(SPACE | change)

    assert "the search space is not that of the last command" in capsys.readouterr().err


def test_a_wider_space_that_is_searched_needs_no_word(written, capsys):
    ran()
    capsys.readouterr()

    ran(SPACE | {"x": {"low": -9.0, "high": 9.0}}, max_trials=5)

    assert "search space" not in capsys.readouterr().err
