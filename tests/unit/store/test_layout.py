"""Where results may lie."""

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.store.layout import check_apart


@pytest.mark.parametrize("name", ["runs", "runs/today", "problems/x", "leaving", "../arts/runs/x"])
def test_results_among_the_trials_are_refused(tmp_path, name):
    with pytest.raises(SpecError, match=r"results_dir '.*' lies in .*choose another folder"):
        check_apart(tmp_path / "arts", tmp_path / "arts" / name)


def test_a_link_to_the_trials_is_seen_through(tmp_path):
    (tmp_path / "arts" / "runs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "arts" / "runs")

    with pytest.raises(SpecError, match="choose another folder"):
        check_apart(tmp_path / "arts", tmp_path / "link" / "results")


@pytest.mark.parametrize(("artifacts", "results"), [("a", "a"), ("a", "a/results"), ("r/artifacts", "r")])
def test_other_folders_may_lie_in_each_other(tmp_path, artifacts, results):
    check_apart(tmp_path / artifacts, tmp_path / results)
