"""The main job end to end on real worker processes: HMC reference, VI trials, table, resume."""

import json
import math
import time

import pandas as pd
import pytest
import yaml

from tests.e2e.command import ROOT, run

COLUMNS = {
    "pid", "method", "trial_id", "hyperparams", "llc_hat", "llc_ref", "objective", "error", "runtime_sec",
    "diagnostics", "state", "trial_number", "se_hat", "se_ref", "seed", "started", "ended", "work",
}  # fmt: skip
CONFIG = ROOT / "tests" / "test_optuna_config.yaml"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("workflow")
    run("parsl-optuna", "--config", CONFIG, "--local", cwd=folder, timeout=400)
    return folder


def test_optuna_workflow_integration(done):
    rows = pd.read_parquet(done / "results" / "optuna_trials.parquet")

    assert set(rows.columns) >= COLUMNS
    assert len(rows) == 3
    assert set(rows["method"]) == {"vi"}
    assert set(rows["state"]) == {"ok"}
    assert (rows["objective"] == (rows["llc_hat"] - rows["llc_ref"]).abs()).all()
    assert (rows["error"] == rows["objective"]).all()
    assert rows["llc_ref"].nunique() == 1
    assert all(rows["pid"].str.fullmatch(r"p_[0-9a-f]{12}"))
    assert all(rows["trial_id"].str.fullmatch(r"r_[0-9a-f]{12}"))
    assert rows["hyperparams"].map(lambda h: {"lr", "M", "r", "whitening_mode", "steps"} <= h.keys()).all()
    assert rows["diagnostics"].map(lambda d: {"ess", "rhat", "virial_ratio"} <= d.keys()).all()
    assert (rows["runtime_sec"] < 60).all()


def test_the_reference_is_a_trusted_file(done):
    (path,) = done.glob("artifacts/problems/p_*/ref.json")
    reference = json.loads(path.read_text())

    assert {"llc_ref", "se_ref", "diagnostics", "status"} <= reference.keys()
    assert reference["status"] == "ok"
    assert 0 < reference["llc_ref"] < 45 / 2  # singular: below half the number of parameters
    assert reference["se_ref"] < 0.05 * reference["llc_ref"]
    assert reference["diagnostics"]["rhat"] < 1.01


def test_artifacts_lie_where_the_contract_says(done):
    manifests = list(done.glob("artifacts/runs/p_*/vi/r_*/manifest.json"))

    assert len(manifests) == 5  # three trials; the choice and the preset on a fresh seed each
    for path in manifests:
        manifest = json.loads(path.read_text())
        metrics = json.loads(path.with_name("metrics.json").read_text())
        assert {"hyperparams", "seed", "budget_sec"} <= manifest.keys()
        assert {"llc_hat", "state", "runtime_sec", "host", "versions"} <= metrics.keys()
    assert len(list(done.glob("results/studies/optuna_llc/p_*:vi.pkl"))) == 1
    assert (
        yaml.safe_load((done / "results" / "optuna_trials_config.yaml").read_text())["optuna"]["seed"] == 42
    )


def test_the_same_command_again_uses_what_is_there(done):
    before = (done / "results" / "optuna_trials.parquet").read_bytes()
    begun = time.monotonic()

    out, _ = run("parsl-optuna", "--config", CONFIG, "--local", cwd=done)

    assert time.monotonic() - begun < 10
    assert "0 references and trials run" in out
    assert (done / "results" / "optuna_trials.parquet").read_bytes() == before


def test_a_replayed_trial_gives_the_same_number(done):
    path = next(done.glob("artifacts/runs/p_*/vi/r_*/manifest.json"))

    out, _ = run("parsl-optuna", "trial", path, "--again", "--json", cwd=done)

    assert json.loads(out)["agrees"] is True


def test_parsl_llc_takes_the_tuned_point_and_presets_side_by_side(done):
    config = {
        "problems": [{"model": "small", "data": "small"}, {"model": "quadratic"}],
        "samplers": [
            {"name": "vi", "overrides": {"steps": 300}, "seeds": [0, 1]},
            {"name": "hmc", "overrides": {"draws": 500, "warmup": 300, "max_draws": 500}},
        ],
        "budget_sec": 60,
    }
    (done / "fixed.yaml").write_text(yaml.safe_dump(config))
    tuned = {"problems": config["problems"][:1], "samplers": [{"name": "vi", "best_from": "results"}]}
    (done / "tuned.yaml").write_text(yaml.safe_dump(tuned | {"budget_sec": 60}))

    run("parsl-llc", "--config", "fixed.yaml", "--local", cwd=done, timeout=300)
    rows = pd.read_parquet(done / "results" / "llc_runs.parquet")
    run("parsl-llc", "--config", "tuned.yaml", "--inline", "--results-dir", "tuned", cwd=done, timeout=300)
    best = json.loads((done / "results" / "best.json").read_text())["studies"][0]
    again = pd.read_parquet(done / "tuned" / "llc_runs.parquet")

    assert len(rows) == 6
    assert sorted(rows[rows["method"] == "vi"]["seed"]) == [0, 0, 1, 1]
    quadratic = rows[(rows["problem"] == "quadratic") & (rows["method"] == "hmc")].iloc[0]
    stiffness = 2 * 100 / math.log(100)  # t times the curvature, at n = 100; the localiser adds gamma = 1
    exact = 5 * stiffness / (stiffness + 1)
    assert quadratic["llc_hat"] == pytest.approx(exact, abs=1e-9)  # control variates are exact on a quadratic
    assert json.loads(again["hyperparams_json"][0]) == best["hyperparams"]
