import math

import pytest
from parsl_optuna.report.configurations import flatten
from parsl_optuna.report.transfer import transfer
from scipy import stats

from tests.unit.report.test_configurations import trials

ON_P, ON_Q = [5.0, 1.0, 3.0, 4.0, 2.0], [50.0, 30.0, 10.0, 40.0, 20.0]


def on_two_problems(values_p, values_q, **columns):
    points = [{"a": k} for k in range(len(values_p))] + [{"a": k} for k in range(len(values_q))]
    problems = ["p"] * len(values_p) + ["q"] * len(values_q)
    return flatten(trials(points, [*values_p, *values_q], problem=problems, **columns))


def test_what_is_best_on_one_problem_has_a_rank_on_the_other():
    found = transfer(on_two_problems(ON_P, ON_Q), "objective", more_is_better=False)

    row = found.set_index("chosen_on").loc["p"]
    assert (row["value"], row["best"], row["rank"], row["configurations"]) == (30.0, 10.0, 3, 5)
    assert row["rho"] == pytest.approx(stats.spearmanr(ON_P, ON_Q).statistic)


def test_more_may_be_better():
    found = transfer(on_two_problems(ON_P, ON_Q), "objective", more_is_better=True)

    row = found.set_index("chosen_on").loc["q"]
    assert (row["value"], row["best"], row["rank"]) == (5.0, 5.0, 1)


def test_configurations_of_one_problem_alone_do_not_count():
    found = transfer(on_two_problems([0.5, 1.0], [9.0, 3.0, 0.0]), "objective", more_is_better=False)

    assert found["configurations"].tolist() == [2, 2]
    assert math.isnan(found["rho"].iloc[0])
    assert found.set_index("chosen_on").loc["p", "best"] == 3.0


def test_one_problem_has_no_other():
    assert transfer(flatten(trials([{"a": 1}, {"a": 2}], 1.0)), "objective", more_is_better=False).empty
