"""PBS Pro and OpenPBS: qsub, qstat, qdel, qselect."""

from __future__ import annotations

import getpass
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import ExecutorError, SpecError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.backend import Phase
from parsl_optuna.execution.lifetime import seconds_of
from parsl_optuna.execution.scheduler import Around, Job, Silent, call, option_lines, words_of

_QUEUED = set("QTWHM")
_RUNNING = set("RBSU")
"""Job states, from the manual of qstat: H is held, M moved to another server, S and U are suspended."""

_FINISHED, _UNKNOWN = 35, 153
"""Exit statuses of qstat: of a job in the history, and of one that the server does not know."""

_NEVER = "can never run"
"""How the comment of a job begins that waiting does not start."""

_ADVICE = "no node has this; lower cores, memory_gb, gpus or nodes in the block 'cluster'"


class Pbs:
    """The scheduler of that name, by its client programs."""

    name = "PBS"

    def check(self, cluster: ClusterSpec) -> None:
        """Raise `SpecError` for what it cannot be asked for."""
        option_lines(cluster, "#PBS")
        if cluster.qos is not None:
            raise SpecError(
                "cluster.qos: PBS has none; choose a queue by cluster.partition, or use cluster.options"
            )
        if cluster.memory_gb_per_core is not None:
            raise SpecError("cluster.memory_gb_per_core: PBS asks per node; use cluster.memory_gb")
        if cluster.gpu_type is not None:
            raise SpecError(
                f"cluster.gpus: PBS knows no types; use gpus: {cluster.n_gpus} and a constraint of the site, "
                f"such as constraint: gpu_model={cluster.gpu_type}"
            )
        if cluster.constraint is not None and "=" not in cluster.constraint:
            raise SpecError(f"cluster.constraint '{cluster.constraint}': on PBS it must be name=value")
        if cluster.reservation is not None and cluster.partition is not None:
            raise SpecError(
                "cluster.reservation: on PBS it is a queue of its own; leave cluster.partition out"
            )

    def head(self, cluster: ClusterSpec, job_name: str) -> list[str]:
        """Return the lines at the top of a job script; the script itself says where its output goes."""
        chunk = f"select={cluster.nodes}:ncpus={cluster.cores or 1}"
        chunk += f":ngpus={cluster.n_gpus}" if cluster.n_gpus else ""
        chunk += f":mem={cluster.memory_gb}gb" if cluster.memory_gb else ""
        chunk += f":{cluster.constraint}" if cluster.constraint else ""
        place = ["scatter"] if cluster.nodes > 1 else []  # else two chunks may share a node
        place += ["excl"] if cluster.is_exclusive else []
        queue = cluster.reservation or cluster.partition
        return [
            "#PBS -S /bin/bash",
            f"#PBS -N {job_name}",
            "#PBS -m n",
            "#PBS -j oe",
            "#PBS -o /dev/null",
            f"#PBS -l {chunk}",
            *([f"#PBS -l place={':'.join(place)}"] if place else []),
            f"#PBS -l walltime={cluster.walltime}",
            *([f"#PBS -q {queue}"] if queue else []),
            *([f"#PBS -A {cluster.account}"] if cluster.account else []),
            "#PBS -r n",  # a requeued block would come back while another one has taken its place
            *option_lines(cluster, "#PBS"),
        ]

    def spread(self, cluster: ClusterSpec, script: Path) -> str:
        """Return the shell line that runs *script* once on every node of a block."""
        words = f"/bin/bash {shlex.quote(str(script))}"
        return words if cluster.nodes == 1 else f"pbsdsh -- {words}"

    def submit(self, script: Path) -> str:
        """Submit a job script; return the id of the job."""
        try:
            done = call("qsub", str(script))
        except Silent as error:
            raise ExecutorError(str(error)) from error
        if done.returncode:
            raise ExecutorError(f"qsub refuses the job: {words_of(done)}; see the block 'cluster'")
        return done.stdout.strip().splitlines()[-1]

    def ask(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        """Return what is known of these jobs.

        One call per job: some versions print the first of several only (openpbs issue 2672). Without ``-x``,
        which a server that keeps no history, the default, answers with nothing.
        """
        found = {}
        for job_id in job_ids:
            done = call("qstat", "-f", "-F", "json", job_id)
            if done.returncode == _UNKNOWN:
                continue
            if done.returncode == _FINISHED:
                found[job_id] = _job(_record(call("qstat", "-x", "-f", "-F", "json", job_id)) or {})
                continue
            record = _record(done)
            if record is None:
                raise Silent(words_of(done))
            found[job_id] = _job(record)
        return found

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs, queued or running."""
        for job_id in job_ids:  # one that has ended makes qdel fail, which must not keep the others
            call("qdel", job_id)

    def named(self, job_name: str) -> list[str]:
        """Return the ids of this user's jobs of that name that have not ended."""
        done = call("qselect", "-u", getpass.getuser(), "-N", job_name)
        return done.stdout.split() if done.returncode == 0 else []

    def around(self) -> Around:
        """Return the job that this process runs in."""
        job_id, nodefile = os.environ.get("PBS_JOBID"), os.environ.get("PBS_NODEFILE")
        if job_id is None or nodefile is None:
            raise SpecError("cluster.allocation: this is no PBS job; PBS_JOBID is not set")
        nodes = set(Path(nodefile).read_text().split())
        record = _record(call("qstat", "-f", "-F", "json", job_id)) or {}
        asked = seconds_of(str(record.get("Resource_List", {}).get("walltime", "")))
        used = seconds_of(str(record.get("resources_used", {}).get("walltime", "0"))) or 0
        return Around(job_id, len(nodes), None if asked is None else asked - used)


def _record(done: Any) -> Mapping[str, Any] | None:
    """Return the only job in an answer of qstat; None where it is no answer."""
    try:
        (record,) = json.loads(done.stdout)["Jobs"].values()
    except (ValueError, KeyError, AttributeError):
        return None
    return record


def _job(record: Mapping[str, Any]) -> Job:
    state, comment = record.get("job_state", "F"), record.get("comment")
    if state in _RUNNING:
        return Job(Phase.RUNNING)
    if state not in _QUEUED:
        status = record.get("Exit_status")
        return Job(Phase.ENDED, None if status is None else f"exit status {status}")
    if comment and comment.lower().startswith(_NEVER):
        return Job(Phase.QUEUED, comment, _ADVICE, never=True)
    held = "release it with qrls" if state == "H" else None
    return Job(Phase.QUEUED, comment or ("held" if held else None), held)
