"""The sweep programme of the least-volume autoencoders at its smallest, whole, and across a kill."""

import os
import signal
import time

import pandas as pd
import pytest
from parsl_optuna.study.plan.sweep.winners import Earlier, best_by_problem

from tests.e2e.command import ROOT, run, start
from tests.waiting import wait_for

FILES = sorted((ROOT / "config" / "sweeps").glob("tiny-*.yaml"))
WITHOUT = ["runtime_sec", "prepare_sec", "started", "ended", "host"]


def table(folder, name):
    rows = pd.read_parquet(folder / "results" / name / "sweep_runs.parquet")
    return rows.drop(columns=WITHOUT).sort_values("trial_id").reset_index(drop=True)


@pytest.mark.slow
def test_the_tiny_programme_runs_phase_after_phase_and_survives_a_kill(tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    first = FILES[0].relative_to(ROOT)
    driver = start("parsl-optuna", "sweep", first, "--local", cwd=tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("artifacts/runs/*/*/*/metrics.json"))) >= 3, 90)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.communicate()
    time.sleep(1)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("artifacts/runs/*/*/*/metrics.json")}

    for path in FILES:
        run("parsl-optuna", "sweep", path.relative_to(ROOT), "--local", cwd=tmp_path, timeout=300)

    assert len(FILES) == 9
    for path in FILES:
        rows = table(tmp_path, path.stem)
        assert set(rows.state) <= {"ok", "pruned"}, path
        assert rows.trial_id.is_unique
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())
    strategies = table(tmp_path, FILES[0].stem)
    assert len(strategies) == 28
    winners = best_by_problem(Earlier(strategies.to_dict("records")))
    guards = table(tmp_path, "tiny-02-safeguards")
    assert {point["pruning_strategy"] for point in guards.hyperparams} == {
        winners[pid].hyperparams["pruning_strategy"] for pid in guards.pid
    }
    assert guards.outcome.notna().all()

    again, _ = run("parsl-optuna", "sweep", first, "--local", cwd=tmp_path)
    assert " 0 trials run" in again
    run("parsl-optuna", "analyze", "results/tiny-guide-spectral-norm", cwd=tmp_path)
    pairs = pd.read_csv(tmp_path / "results" / "tiny-guide-spectral-norm" / "analysis" / "pairs.csv")
    assert set(pairs.parameter) == {"use_spectral_norm"}
    assert (pairs.n == 5).all()
