"""Whole studies through a real controller, and what a cluster does to them."""

import json
import signal
import subprocess
import time

import pandas as pd
import pytest

from tests.e2e.command import SCRIPTS, run, start, write_config
from tests.e2e.test_resume import committed
from tests.slurm.daemons import Cluster, missing
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

SLURM = ("--parsl-config", "slurm")
BLOCK = {"partition": "debug", "cores": 1, "walltime": "00:10:00", "poll_sec": 1, "heartbeat_sec": 2}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes of two cores and two (pretended) GPUs."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(autouse=True)
def empty(cluster):
    yield
    cluster.call("scancel", "-u", "root")
    wait_for(lambda: not cluster.jobs("RUNNING,PENDING,COMPLETING"))


def config(folder, sleep_sec=0.3, trials=8, block=None, trouble="none", **optuna):
    problem = {"truth": 1.0, "sleep_sec": sleep_sec, "log": str(folder / "log"), "trouble": trouble}
    budgets = {"max_trials": trials, "batch_size": 4, "confirm": 0, "method_budget_sec": 30}
    budgets |= {"hmc_budget_sec": 30} | optuna
    return write_config(folder, problems=[problem], optuna=budgets, cluster=BLOCK | (block or {}))


def rows(folder):
    return pd.read_parquet(folder / "results" / "optuna_trials.parquet")


def worker_of(folder):
    return [
        json.loads(path.read_text())["worker"]
        for path in folder.glob("artifacts/runs/*/guess/*/metrics.json")
    ]


def end(process, code=0):
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    assert process.returncode == code, err
    return err


def test_a_whole_study_runs_in_real_jobs_and_repeats_nothing(tmp_path, cluster):
    path = config(tmp_path, block={"max_blocks": 2})

    run("parsl-optuna", "--config", path, *SLURM, timeout=200)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 8
    assert all(worker["SLURM_JOB_ID"] for worker in worker_of(tmp_path))
    wait_for(lambda: not cluster.jobs())  # blocks are given back
    out, _ = run("parsl-optuna", "--config", path, *SLURM)
    assert "0 references and trials run" in out


def test_blocks_on_both_nodes_are_used_and_idle_ones_given_back(tmp_path, cluster):
    path = config(tmp_path, 1.0, 12, {"max_blocks": 2, "cores": 2, "idle_sec": 3})

    process = start("parsl-optuna", "--config", path, *SLURM)
    wait_for(lambda: len(cluster.jobs()) == 2)
    end(process)

    assert {worker["SLURMD_NODENAME"] for worker in worker_of(tmp_path)} == {"n1", "n2"}


def test_two_nodes_in_one_block(tmp_path, cluster):
    path = config(tmp_path, 1.0, 8, {"nodes": 2, "cores": 2})

    run("parsl-optuna", "--config", path, *SLURM, timeout=200)

    workers = worker_of(tmp_path)
    assert {worker["SLURMD_NODENAME"] for worker in workers} == {"n1", "n2"}
    assert len({worker["SLURM_JOB_ID"] for worker in workers}) == 1


def test_each_worker_sees_one_accelerator(tmp_path, cluster):
    path = config(tmp_path, 0.5, 8, {"gpus": 2, "cores": 2})

    run("parsl-optuna", "--config", path, *SLURM, timeout=200)

    assert {worker["CUDA_VISIBLE_DEVICES"] for worker in worker_of(tmp_path)} == {"0", "1"}


def test_scancel_of_a_block_costs_no_trial(tmp_path, cluster):
    path = config(tmp_path, 1.0, 8)
    process = start("parsl-optuna", "--config", path, *SLURM)
    wait_for(lambda: len(committed(tmp_path)) > 2)

    cluster.call("scancel", *cluster.jobs())
    end(process)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 8
    assert len({worker["SLURM_JOB_ID"] for worker in worker_of(tmp_path)}) == 2


def test_a_trial_of_a_cancelled_block_goes_on_from_its_checkpoint(tmp_path, cluster):
    path = config(tmp_path, 0.3, 1, trouble="steps")
    log = tmp_path / "log"
    process = start("parsl-optuna", "--config", path, *SLURM)
    wait_for(lambda: log.exists() and "step 9" in log.read_text())

    cluster.call("scancel", *cluster.jobs())
    end(process)

    steps = [line for line in log.read_text().splitlines() if line.startswith("step")]
    assert steps == [f"step {i}" for i in range(40)]


def test_a_block_that_is_requeued_costs_no_trial(tmp_path, cluster):
    path = config(tmp_path, 1.0, 8, {"options": ["#SBATCH --requeue"]})
    process = start("parsl-optuna", "--config", path, *SLURM)
    wait_for(lambda: len(committed(tmp_path)) > 2)

    (job,) = cluster.jobs()
    cluster.call("scontrol", "requeue", job)
    wait_for(lambda: job in cluster.jobs("PENDING"))
    cluster.call("scontrol", "update", f"jobid={job}", "StartTime=now")  # instead of in two minutes
    end(process)

    # It comes back in the same job, or in a new one that was asked for while the old one was ending.
    assert list(rows(tmp_path)["state"]) == ["ok"] * 8


def test_a_node_that_goes_down_costs_no_trial(tmp_path, cluster):
    path = config(tmp_path, 1.0, 8)
    process = start("parsl-optuna", "--config", path, *SLURM)
    wait_for(lambda: len(committed(tmp_path)) > 2)
    node = worker_of(tmp_path)[0]["SLURMD_NODENAME"]

    cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    end(process)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 8


def test_a_study_longer_than_a_walltime_goes_on_in_the_next_block(tmp_path, cluster):
    block = {"walltime": "00:01:00", "trial_sec": 50}
    path = config(tmp_path, 1.0, 22, block, batch_size=2)

    run("parsl-optuna", "--config", path, *SLURM, timeout=300)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 22
    assert len({worker["SLURM_JOB_ID"] for worker in worker_of(tmp_path)}) >= 2
    log = (tmp_path / "log").read_text().splitlines()
    assert len(log) == len(set(log))  # drained, so nothing ran twice


def test_a_partition_that_does_not_exist_is_one_line(tmp_path, cluster):
    path = config(tmp_path)

    _, err = run("parsl-optuna", "--config", path, *SLURM, "--set", "partition=nowhere", code=2)

    assert err.count("sbatch refuses the job") == 1
    assert "invalid partition specified: nowhere" in err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("walltime='02:00:00'", "can never start: PartitionTimeLimit; the partition allows less; lower"),
        ("nodes=5", "can never start: PartitionConfig"),
        ("gpus=a100:4", "sbatch refuses the job"),
        ("constraint=fast", "Invalid feature specification"),
        ("worker_init=echo no such module; exit 7", "ended at its start, exit status 7"),
        ("address=192.0.2.1", "is no address of this machine"),
    ],
)
def test_what_cannot_work_is_told_within_a_minute(tmp_path, cluster, setting, words):
    begun = time.monotonic()
    _, err = run("parsl-optuna", "--config", config(tmp_path), *SLURM, "--set", setting, code=2)

    assert time.monotonic() - begun < 60
    assert err.count(words) == 1
    assert "Traceback" not in err
    assert not cluster.jobs("PENDING,RUNNING")


@pytest.fixture
def partition_down(cluster):
    cluster.call("scontrol", "update", "partitionname=debug", "state=down")
    yield
    cluster.call("scontrol", "update", "partitionname=debug", "state=up")


def test_interrupting_gives_back_what_has_not_started(tmp_path, cluster, partition_down):
    process = start("parsl-optuna", "--config", config(tmp_path), *SLURM)
    wait_for(lambda: cluster.jobs("PENDING"))
    time.sleep(3)  # the reason is asked for after two seconds

    process.send_signal(signal.SIGINT)
    err = end(process, 130)

    assert "does not start: PartitionDown; the partition is down" in err
    assert not cluster.jobs("PENDING")


def test_the_next_driver_cancels_what_a_dead_one_left(tmp_path, cluster, partition_down):
    path = config(tmp_path)
    process = start("parsl-optuna", "--config", path, *SLURM)
    (left,) = wait_for(lambda: cluster.jobs("PENDING"))
    process.kill()
    process.communicate()

    cluster.call("scontrol", "hold", left)
    cluster.call("scontrol", "update", "partitionname=debug", "state=up")
    run("parsl-optuna", "--config", path, *SLURM, timeout=200)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 8
    assert left not in cluster.jobs("PENDING")


def test_a_driver_in_a_job_submits_itself_again_until_the_study_is_done(tmp_path, cluster):
    path = config(tmp_path, 1.0, 60, batch_size=2)
    options = ["--on", "slurm", "--walltime", "00:02:00", "--stop", "90", "--memory-gb", "1"]
    options += ["--folder", str(tmp_path / "submitted")]

    subprocess.run(
        [SCRIPTS["parsl-optuna"], "submit", *options, "--", "run", "--config", path, *SLURM], check=True
    )
    wait_for(lambda: not cluster.jobs("PENDING,RUNNING,COMPLETING"), 300)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 60
    starts = (tmp_path / "results" / "events.jsonl").read_text().count("command_started")
    assert starts > 1


def test_the_nodes_of_a_job_that_people_hold_are_used(tmp_path, cluster):
    path = config(tmp_path, 1.0, 8, method_budget_sec=5, hmc_budget_sec=5)
    words = ["parsl-optuna", "run", "--config", path, *SLURM, "--set", "allocation=true"]
    command = " ".join(map(str, [SCRIPTS["parsl-optuna"], *words[1:], "--set", "limits.grace_sec=2"]))
    script = tmp_path / "job.sh"
    head = "#SBATCH -N2 --ntasks-per-node=1 --cpus-per-task=2 --time=5 --output=/dev/null"
    script.write_text(f"#!/bin/bash\n{head}\n{command}\n")

    cluster.call("sbatch", str(script))
    wait_for(lambda: not cluster.jobs("PENDING,RUNNING,COMPLETING"), 200)

    assert list(rows(tmp_path)["state"]) == ["ok"] * 8
    assert {worker["SLURMD_NODENAME"] for worker in worker_of(tmp_path)} == {"n1", "n2"}


def test_a_driver_that_is_killed_leaves_no_block_behind(tmp_path, cluster):
    path = config(tmp_path, 5.0, 20)
    process = start("parsl-optuna", "--config", path, *SLURM)
    wait_for(lambda: len(committed(tmp_path)) > 0)

    process.kill()
    process.communicate()

    wait_for(lambda: not cluster.jobs(), 60)


@pytest.mark.slow
def test_the_walltime_kills_a_block_and_its_trials_run_again(tmp_path, cluster):
    block = {"walltime": "00:01:00", "trial_sec": 1}
    path = config(tmp_path, 25.0, 4, block, batch_size=1)
    begun = time.monotonic()

    run("parsl-optuna", "--config", path, *SLURM, timeout=600)

    assert time.monotonic() - begun > 100
    assert list(rows(tmp_path)["state"]) == ["ok"] * 4
