import numpy as np
import pytest
from parsl_optuna.report.configurations import flatten
from parsl_optuna.report.risks import risks
from scipy import stats

from tests.unit.report.test_analysis import analysed
from tests.unit.report.test_configurations import trials

LR = np.geomspace(0.01, 100, 24)
POINTS = [{"lr": float(lr), "opt": ("sgd", "adam")[k % 2]} for k, lr in enumerate(LR)]
STATES = ["failed" if lr > 3 and k % 3 else "ok" for k, lr in enumerate(LR)]
VALUES = [None if state == "failed" else 1.0 for state in STATES]


def rows(**columns):
    return trials(POINTS, VALUES, state=STATES, reason="diverged").assign(**columns)


def test_what_makes_trials_fail_is_tested_as_any_effect():
    found = risks(flatten(rows())).set_index("parameter")

    failed = [float(state == "failed") for state in STATES]
    assert found.loc["lr", "estimate"] == pytest.approx(stats.spearmanr(LR, failed).statistic)
    assert found.loc["lr", "p_holm"] < 0.01
    assert set(found.loc["opt", "estimate"]) == {
        np.mean([f for f, one in zip(failed, POINTS, strict=True) if one["opt"] == opt])
        for opt in ("sgd", "adam")
    }


def test_the_conclusion_says_where_trials_fail(tmp_path):
    found = analysed(tmp_path, rows()).findings

    assert "m on p: the larger lr, the more trials fail." in found
    assert not any("opt" in one and "fail" in one for one in found)


def test_the_share_of_a_value_is_told(tmp_path):
    points = [{"opt": opt, "k": k} for opt in ("sgd", "adam") for k in range(10)]
    states = ["ok"] * 10 + ["failed"] * 9 + ["ok"]
    values = [1.0 if state == "ok" else None for state in states]

    found = analysed(tmp_path, trials(points, values, state=states, reason="")).findings

    assert "m on p: at opt adam, 90% of the trials fail." in found


def test_where_all_trials_end_alike_and_where_they_were_pruned_nothing_is_said():
    assert risks(flatten(rows(state="ok"))).empty
    assert risks(flatten(rows(state=["pruned" if one == "failed" else "ok" for one in STATES]))).empty
