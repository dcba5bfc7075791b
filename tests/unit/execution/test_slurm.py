"""What SLURM is asked for, and what its words mean."""

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.backend import Phase
from parsl_optuna.execution.slurm import Slurm, _job


def test_every_key_is_asked_for():
    cluster = ClusterSpec(
        partition="gpu",
        account="abc",
        qos="high",
        constraint="a|b",
        reservation="r1",
        exclusive=True,
        nodes=2,
        cores=8,
        memory_gb_per_core=3,
        gpus="a100:4",
        options=("--mail-user=me@example.org", "#SBATCH --nice=5"),
    )

    head = "\n".join(Slurm().head(cluster, "name"))

    for words in (
        "job-name=name", "partition=gpu", "account=abc", "qos=high", "constraint=a|b", "reservation=r1",
        "exclusive", "nodes=2", "cpus-per-task=8", "mem-per-cpu=3G", "gpus-per-node=a100:4",
        "mail-user=me@example.org", "nice=5", "time=01:00:00", "no-requeue",
    ):  # fmt: skip
        assert f"#SBATCH --{words}\n" in head + "\n"
    assert cluster.workers_per_node == 4


def test_options_that_are_none_are_refused():
    with pytest.raises(SpecError, match="must begin with"):
        Slurm().check(ClusterSpec(options=("mail-user=me",)))


@pytest.mark.parametrize(
    ("state", "reason", "phase", "never"),
    [
        ("PENDING", "Priority", Phase.QUEUED, False),
        ("PENDING", "PartitionTimeLimit", Phase.QUEUED, True),
        ("PENDING", "QOSMaxWallDurationPerJobLimit", Phase.QUEUED, True),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:n[1-2]", Phase.QUEUED, False),
        ("RUNNING", "None", Phase.RUNNING, False),
        ("SUSPENDED", "None", Phase.RUNNING, False),
        ("COMPLETING", "None", Phase.ENDED, False),
        ("TIMEOUT", "TimeLimit", Phase.ENDED, False),
        ("PREEMPTED", "None", Phase.ENDED, False),
        ("OUT_OF_MEMORY", "OutOfMemory", Phase.ENDED, False),
    ],
)
def test_states_of_jobs(state, reason, phase, never):
    job = _job(state, reason)

    assert (job.phase, job.never) == (phase, never)
    assert not never or job.advice
