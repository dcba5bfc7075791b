"""SLURM: sbatch, squeue, scancel."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from parsl_optuna.core.errors import ExecutorError, SpecError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.backend import Phase
from parsl_optuna.execution.lifetime import seconds_of
from parsl_optuna.execution.scheduler import Around, Job, Silent, call, option_lines, words_of

_QUEUED = {
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
}
_RUNNING = {"RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
"""Job states, from the manual of squeue; all others are ends. COMPLETING is one: its node serves no more."""

_NEVER = {
    "PartitionTimeLimit": "the partition allows less; lower cluster.walltime",
    "PartitionNodeLimit": "the partition has fewer nodes; lower cluster.nodes",
    "PartitionConfig": "the partition allows no such job; lower cluster.walltime, nodes or cores",
    "BadConstraints": "no node has this; change cluster.constraint, cores, memory_gb or gpus",
    "InvalidAccount": "change cluster.account",
    "InvalidQOS": "change cluster.qos",
    "DependencyNeverSatisfied": "remove the dependency from cluster.options",
}
"""Reasons of pending jobs that waiting does not cure, from the manual of squeue."""

_NEVER_LIMIT = re.compile(r"(?:Assoc|QOS)Max\w*PerJob\w*")
"""Limits per job of an account or QOS."""

_BLOCKED = {
    "PartitionDown": "the partition is down; wait for it, or choose another cluster.partition",
    "PartitionInactive": "the partition takes no jobs; wait for it, or choose another cluster.partition",
    "JobHeldUser": "release it with scontrol release",
    "JobHeldAdmin": "an administrator holds it; ask them",
    "ReqNodeNotAvail": "nodes are down or reserved; see sinfo -R and scontrol show reservation",
}


class Slurm:
    """The scheduler of that name, by its client programs."""

    name = "SLURM"

    def check(self, cluster: ClusterSpec) -> None:
        """Raise `SpecError` for what it cannot be asked for."""
        option_lines(cluster, "#SBATCH")

    def head(self, cluster: ClusterSpec, job_name: str) -> list[str]:
        """Return the lines at the top of a job script; the script itself says where its output goes."""
        asked: dict[str, object] = {
            "job-name": job_name,
            "output": "/dev/null",
            "nodes": cluster.nodes,
            "ntasks-per-node": 1,
            "time": cluster.walltime,
            "partition": cluster.partition,
            "account": cluster.account,
            "qos": cluster.qos,
            "constraint": cluster.constraint,
            "reservation": cluster.reservation,
            "cpus-per-task": cluster.cores,
            "mem": cluster.memory_gb and f"{cluster.memory_gb}G",
            "mem-per-cpu": cluster.memory_gb_per_core and f"{cluster.memory_gb_per_core}G",
            "gpus-per-node": cluster.gpus or None,
        }
        lines = [f"#SBATCH --{name}={value}" for name, value in asked.items() if value is not None]
        lines += ["#SBATCH --exclusive"] if cluster.is_exclusive else []
        # A requeued block would come back while another one has taken its place.
        return [*lines, "#SBATCH --no-requeue", *option_lines(cluster, "#SBATCH")]

    def spread(self, cluster: ClusterSpec, script: Path) -> str:
        """Return the shell line that runs *script* once on every node of a block."""
        words = f"bash {shlex.quote(str(script))}"
        n = cluster.nodes
        if n == 1:
            return words
        # A pool has all cores of its node for its workers, and a driver may be at work beside it.
        return f"srun --nodes={n} --ntasks={n} --ntasks-per-node=1 --cpu-bind=none --overlap {words}"

    def submit(self, script: Path) -> str:
        """Submit a job script; return the id of the job."""
        try:
            done = call("sbatch", "--parsable", str(script))
        except Silent as error:
            raise ExecutorError(str(error)) from error
        if done.returncode:
            raise ExecutorError(f"sbatch refuses the job: {words_of(done)}; see the block 'cluster'")
        return done.stdout.strip().splitlines()[-1].partition(";")[0]

    def ask(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        """Return what is known of these jobs."""
        done = call(
            "squeue", "--noheader", "--states=all", f"--jobs={','.join(job_ids)}", "--format=%A|%T|%r"
        )
        if done.returncode:
            if "Invalid job id" in done.stderr:  # all of them ended a while ago
                return {}
            raise Silent(words_of(done))
        found = {}
        for line in done.stdout.splitlines():
            job_id, state, reason = line.split("|", 2)
            found[job_id] = _job(state, reason.strip())
        return found

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs, queued or running."""
        call("scancel", *job_ids)

    def named(self, job_name: str) -> list[str]:
        """Return the ids of this user's jobs of that name that have not ended."""
        done = call("squeue", "--noheader", "--me", f"--name={job_name}", "--format=%A")
        return done.stdout.split() if done.returncode == 0 else []

    def around(self) -> Around:
        """Return the job that this process runs in."""
        job_id = os.environ.get("SLURM_JOB_ID")
        if job_id is None:
            raise SpecError("cluster.allocation: this is no SLURM job; SLURM_JOB_ID is not set")
        done = call("squeue", "--noheader", f"--jobs={job_id}", "--format=%L")
        return Around(job_id, int(os.environ.get("SLURM_JOB_NUM_NODES", "1")), seconds_of(done.stdout))


def _job(state: str, reason: str) -> Job:
    if state in _RUNNING:
        return Job(Phase.RUNNING)
    if state not in _QUEUED:
        return Job(Phase.ENDED, state.lower().replace("_", " "))
    word = reason.partition(",")[0]
    if word in _NEVER:
        return Job(Phase.QUEUED, word, _NEVER[word], never=True)
    if _NEVER_LIMIT.fullmatch(word):
        return Job(Phase.QUEUED, word, "it asks for more than the account or QOS allows a job", never=True)
    return Job(Phase.QUEUED, None if word in ("None", "") else word, _BLOCKED.get(word))
