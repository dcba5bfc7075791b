import json

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.study.plan.sweep.winners import Earlier, Winners, best_by_problem


def row(pid, objective, state="ok", **hyperparams):
    return {
        "pid": pid,
        "problem": f"label {pid}",
        "state": state,
        "objective": objective,
        "hyperparams_json": json.dumps(hyperparams),
    }


ROWS = [
    row("p1", 1.0, lr=0.1, seed=1),  # the single luckiest row belongs to the worse configuration
    row("p1", 9.0, lr=0.1, seed=2),
    row("p1", 3.0, lr=0.2, seed=1),
    row("p1", 3.5, lr=0.2, seed=2),
    row("p2", 0.1, lr=0.3, seed=1),
    row("p2", 0.2, lr=0.3, seed=2),
    row("p2", 0.01, lr=0.4, seed=1),  # its other seed failed: the mean of fewer is the luckier one
    row("p2", None, state="failed", lr=0.4, seed=2),
]


def test_each_problem_has_its_own_winner_by_the_mean_over_seeds():
    found = best_by_problem(Earlier(ROWS))

    assert {pid: (one.hyperparams["lr"], one.mean, one.n_seeds) for pid, one in found.items()} == {
        "p1": (0.2, 3.25, 2),
        "p2": (0.3, pytest.approx(0.15), 2),
    }


def test_more_is_better_where_the_sweep_maximised():
    assert best_by_problem(Earlier(ROWS, is_maximised=True))["p1"].hyperparams["lr"] == 0.1


def test_a_value_is_that_of_the_problem_it_is_for():
    winners = Winners({"results/x": Earlier(ROWS)})

    assert winners.value("results/x", "lr", "p1", "", "") == 0.2
    assert winners.value("results/x", "outer.lr", "p2", "", "") == 0.3


def test_the_only_problem_of_a_folder_stands_for_another_and_that_is_said():
    winners = Winners({"results/x": Earlier(ROWS[:4])})

    assert winners.value("results/x", "lr", "p9", "new", "") == 0.2
    assert list(winners.notes) == ["from results/x: new takes the best of label p1, its only problem"]


@pytest.mark.parametrize(
    ("folder", "name", "pid", "message"),
    [
        ("results/none", "lr", "p1", "holds no finished runs yet; run that sweep first"),
        ("results/x", "lr", "p9", "has no runs of the problem new, but of label p1, label p2"),
        ("results/x", "width", "p1", "the runs in 'results/x' have no 'width'"),
    ],
)
def test_what_cannot_be_taken_is_told(folder, name, pid, message):
    with pytest.raises(SpecError, match=message):
        Winners({"results/x": Earlier(ROWS), "results/none": Earlier(())}).value(
            folder, name, pid, "new", "f $.parameters.a"
        )
