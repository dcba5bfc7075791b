"""The tutorial's files, run as it says."""

import pandas as pd
import pytest

from tests.e2e.command import ROOT, run

TUTORIAL = ROOT / "docs" / "tutorial"


@pytest.mark.parametrize(("name", "best"), [("branin", 2.0), ("train", 1e-6)])
def test_an_own_objective_is_tuned_and_not_run_again(tmp_path, name, best):
    arguments = ["--config", TUTORIAL / f"{name}.yaml", "--local"]
    arguments += ["--artifacts-dir", tmp_path / "a", "--results-dir", tmp_path / "r"]
    run("parsl-optuna", *arguments)
    rows = pd.read_parquet(tmp_path / "r" / "optuna_trials.parquet")
    assert rows.objective.min() < best
    assert (rows.hyperparams_json.str.count("\\.") > 0).all()  # no whole numbers among reals

    out, _ = run("parsl-optuna", *arguments)
    assert " 0 trials run" in out


def test_an_own_objective_takes_few_lines():
    assert len((TUTORIAL / "branin.py").read_text().splitlines()) < 15
    assert len((TUTORIAL / "branin.yaml").read_text().splitlines()) < 10
