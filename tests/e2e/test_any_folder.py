"""Artifacts and results in folders of any name."""

import json

import pytest
import yaml
from parsl_optuna.report import tables

from tests.e2e.command import run

NAMES = {
    "odd": """it's "odd" $HOME ; ünï\ncode *""",
    "long": 250 * "x",
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_study_runs_and_resumes_in_a_folder_of_any_name(tmp_path, kind):
    folder = tmp_path / NAMES[kind]
    raw = {
        "task": "tests.toy:TASK",
        "problems": [{"truth": 1.0}],
        "methods": ["guess"],
        "optuna": {"max_trials": 3, "batch_size": 1, "sampler": "random", "confirm": 0},
        "artifacts_dir": str(folder / "artifacts"),
        "results_dir": str(folder / "results"),
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")

    run("parsl-optuna", "--config", config, "--inline")
    run("parsl-optuna", "--config", config, "--inline")

    assert tables.read(folder / "results" / "optuna_trials.parquet").num_rows == 3
    out, _ = run("parsl-optuna", "best", "--results-dir", folder / "results", "--json")
    assert len(json.loads(out)) == 1
    assert len(list(folder.glob("artifacts/runs/*/*/*/metrics.json"))) == 4
