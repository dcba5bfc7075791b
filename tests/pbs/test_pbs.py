"""Whole studies through the PBS configuration and a stand-in server; see standin.py for how far it goes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.command import ROOT, run, start, write_config
from tests.e2e.test_resume import committed
from tests.waiting import wait_for

pytestmark = pytest.mark.system

PBS = ("--parsl-config", ROOT / "parsl_configs" / "pbs.py")
BLOCK = {"partition": "workq", "cores": 1, "walltime": "00:10:00", "poll_sec": 1, "heartbeat_sec": 2}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The folder of a server's state; its programs are first on the path."""
    state, programs = tmp_path / "server", tmp_path / "bin"
    state.mkdir()
    programs.mkdir()
    for name in ("qsub", "qstat", "qdel"):
        shutil.copy(Path(__file__).with_name("standin.py"), programs / name)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PBS_STANDIN", str(state))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    yield state
    for job in jobs(state):
        subprocess.run(["qdel", job["id"]], check=False, capture_output=True)


def jobs(state):
    return [json.loads(path.read_text()) for path in sorted(state.glob("*.json"))]


def running(state):
    return [job["id"] for job in jobs(state) if job["job_state"] == "R"]


def config(folder, sleep_sec=0.3, trials=8, **block):
    problem = {"truth": 1.0, "sleep_sec": sleep_sec, "log": str(folder / "log")}
    budgets = {
        "max_trials": trials,
        "batch_size": 4,
        "confirm": 0,
        "method_budget_sec": 30,
        "hmc_budget_sec": 30,
    }
    return write_config(folder, problems=[problem], optuna=budgets, cluster=BLOCK | block)


def rows(folder):
    return pd.read_parquet(folder / "results" / "optuna_trials.parquet")


@pytest.mark.parametrize("fault", [False, True])
def test_a_whole_study_runs_in_jobs_whatever_qstat_leaves_out(tmp_path, server, fault):
    if fault:
        (server / "only_first").touch()
    path = config(tmp_path, 1.0, max_blocks=2)

    run("parsl-optuna", "--config", path, *PBS, timeout=200)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 8
    paths = tmp_path.glob("artifacts/runs/*/guess/*/metrics.json")
    assert {json.loads(path.read_text())["worker"]["PBS_JOBID"] for path in paths} <= {
        "1.pbshost",
        "2.pbshost",
    }
    assert len(jobs(server)) <= 2  # no block was submitted twice
    wait_for(lambda: not running(server))
    assert "#PBS -r n" in Path(jobs(server)[0]["script"]).read_text()


def test_a_deleted_job_costs_no_trial(tmp_path, server):
    process = start("parsl-optuna", "--config", config(tmp_path, 1.0), *PBS)
    wait_for(lambda: len(committed(tmp_path)) > 2)

    subprocess.run(["qdel", *running(server)], check=True)
    _, err = process.communicate(timeout=200)

    assert process.returncode == 0, err
    assert list(rows(tmp_path)["state"]) == ["ok"] * 8
    assert len(jobs(server)) == 2


def test_a_queue_that_does_not_exist_is_one_line(tmp_path, server):
    _, err = run("parsl-optuna", "--config", config(tmp_path), *PBS, "--set", "partition=nowhere", code=2)

    assert "Unknown queue" in err


def test_what_is_asked_for_stands_in_the_submit_script(tmp_path, server):
    path = config(
        tmp_path, trials=1, gpus=2, memory_gb=7, worker_init="export FROM_INIT=1", options=["#PBS -j oe"]
    )

    run("parsl-optuna", "--config", path, *PBS, timeout=100)

    script = Path(jobs(server)[0]["script"]).read_text()
    assert "#PBS -l select=1:ncpus=1:ngpus=2:mem=7gb" in script
    for words in ("#PBS -l walltime=00:10:00", "#PBS -j oe", "export FROM_INIT=1", "OMP_NUM_THREADS=1"):
        assert words in script
