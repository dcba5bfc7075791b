"""Interrupted runs with real worker processes: nothing that ended is lost or run again."""

import signal
from collections import Counter

import pandas as pd
import pytest

from tests.e2e.command import run, start, write_config
from tests.waiting import wait_for

pytestmark = pytest.mark.system


def committed(folder):
    return {path: path.read_bytes() for path in folder.glob("artifacts/runs/*/*/*/metrics.json")}


@pytest.fixture
def slow_config(tmp_path):
    """Twelve trials of a third of a second, and a log of every run of the task."""
    problem = {"truth": 1.0, "sleep_sec": 0.3, "log": str(tmp_path / "log")}
    budgets = {"max_trials": 12, "batch_size": 2, "confirm": 0}
    return write_config(tmp_path, problems=[problem], optuna=budgets)


@pytest.mark.parametrize("ended", [1, 4, 9])
def test_kill_9_and_the_same_command_again(tmp_path, slow_config, ended):
    process = start("parsl-optuna", "--config", slow_config, "--local")
    wait_for(lambda: len(committed(tmp_path)) > ended)

    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    before = committed(tmp_path)
    run("parsl-optuna", "--config", slow_config, "--local")

    after = committed(tmp_path)
    assert {path: after[path] for path in before} == before
    rows = pd.read_parquet(tmp_path / "results" / "optuna_trials.parquet")
    assert rows["trial_id"].is_unique
    assert list(rows["state"]) == ["ok"] * 12
    assert sorted(rows["trial_number"]) == list(range(12))
    started = Counter((tmp_path / "log").read_text().splitlines())
    assert sum(started.values()) - len(started) <= 2  # what was in flight may have run twice


@pytest.mark.parametrize(("name", "number"), [("metrics.json", 3), ("manifest.json", 5)])
def test_ctrl_c_once_finishes_what_runs_and_leaves_130(tmp_path, slow_config, name, number):
    """A trial that has just been announced is still on its way to a worker, and does not start."""
    process = start("parsl-optuna", "--config", slow_config, "--local")
    wait_for(lambda: len(list(tmp_path.glob(f"artifacts/runs/*/*/*/{name}"))) >= number)

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Stopping: waiting for running trials." in err
    assert "Traceback" not in err
    lines = (tmp_path / "log").read_text().splitlines()
    started = {line for line in lines if not line.startswith("prepare")}
    assert len(started) == len(committed(tmp_path)) < 13
    manifests = list(tmp_path.glob("artifacts/runs/*/*/*/manifest.json"))
    assert len(manifests) - len(started) <= 2  # a batch is on its way at most
    rows = pd.read_parquet(tmp_path / "results" / "optuna_trials.parquet")
    assert len(rows) == len(started) - 1  # the reference is no row
