"""From a `ClusterSpec` to Parsl: what SLURM and PBS configurations share, and the two providers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from parsl import Config, HighThroughputExecutor
from parsl.jobs.error_handlers import windowed_error_handler
from parsl.launchers import SingleNodeLauncher, SrunLauncher
from parsl.providers import PBSProProvider, SlurmProvider

from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.apps import ONE_THREAD

_SILENT_HEARTBEATS = 6
_QSTAT = "qstat -x -f -F json "
_UNKNOWN_JOB = 153


def slurm_config(cluster: ClusterSpec, run_dir: Path) -> Config:
    """Return a configuration whose blocks are SLURM jobs."""
    provider = _Slurm(
        partition=cluster.partition,
        account=cluster.account,
        qos=cluster.qos,
        cores_per_node=cluster.cores,
        mem_per_node=cluster.memory_gb,
        gpus_per_node=cluster.gpus or None,
        exclusive=cluster.cores is None,
        # A requeued block keeps its id while Parsl has given it up: a new block is clearer.
        scheduler_options="\n".join(["#SBATCH --no-requeue", *cluster.options]),
        launcher=SrunLauncher() if cluster.nodes > 1 else SingleNodeLauncher(),
        **_block(cluster),
    )
    provider.poll_sec = cluster.poll_sec
    return _config(cluster, provider, run_dir)


def pbs_config(cluster: ClusterSpec, run_dir: Path) -> Config:
    """Return a configuration whose blocks are PBS Pro or OpenPBS jobs."""
    select = [f"ngpus={cluster.gpus}"] if cluster.gpus else []
    select += [f"mem={cluster.memory_gb}gb"] if cluster.memory_gb else []
    provider = _Pbs(
        queue=cluster.partition,
        account=cluster.account,
        cpus_per_node=cluster.cores or 1,
        select_options=":".join(select),
        scheduler_options="\n".join(["#PBS -r n", *cluster.options]),
        launcher=SingleNodeLauncher(),
        **_block(cluster),
    )
    provider.poll_sec = cluster.poll_sec
    return _config(cluster, provider, run_dir)


class _Slurm(SlurmProvider):
    """Asks about jobs as often as the configuration says."""

    poll_sec: float = 30.0

    @property
    def status_polling_interval(self) -> int:  # type: ignore[override]
        return self.poll_sec  # type: ignore[return-value]


class _Pbs(PBSProProvider):
    """Asks about one job at a time.

    ``qstat -f -F json A B`` of some OpenPBS versions prints the first job only (openpbs issue 2672). Parsl
    takes the others for ended, and submits a new block in the place of each at every poll.
    """

    poll_sec: float = 30.0

    @property
    def status_polling_interval(self) -> int:  # type: ignore[override]
        return self.poll_sec  # type: ignore[return-value]

    def execute_wait(self, cmd: str, timeout: int | None = None) -> tuple[int, str, str]:
        head, _, identifiers = cmd.partition(_QSTAT)
        if head or len(identifiers.split()) < 2:
            return super().execute_wait(cmd, timeout)
        jobs: dict[str, Any] = {}
        for identifier in identifiers.split():
            code, out, err = super().execute_wait(f"{_QSTAT}{identifier}", timeout)
            if code == 0:
                jobs |= json.loads(out).get("Jobs", {})
            elif code != _UNKNOWN_JOB:
                return code, out, err  # the server does not answer: nothing is known of any job
        return 0, json.dumps({"Jobs": jobs}), ""


def _block(cluster: ClusterSpec) -> dict[str, Any]:
    """Return what any provider is told about blocks."""
    path = f"export PATH={Path(sys.executable).parent}:$PATH"
    found = os.environ.get("PYTHONPATH")
    lines = [ONE_THREAD, path, f"export PYTHONPATH={found}" if found else "", cluster.worker_init]
    return {
        "nodes_per_block": cluster.nodes,
        "init_blocks": 1,
        "min_blocks": 0,
        "max_blocks": cluster.max_blocks,
        "walltime": cluster.walltime,
        "worker_init": "\n".join(line for line in lines if line),
    }


def _config(cluster: ClusterSpec, provider: Any, run_dir: Path) -> Config:
    executor = HighThroughputExecutor(
        label="cluster",
        address=cluster.address,
        encrypted=True,  # anyone on the network could else hand work to the workers
        provider=provider,
        heartbeat_period=cluster.heartbeat_sec,
        heartbeat_threshold=_SILENT_HEARTBEATS * cluster.heartbeat_sec,
        drain_period=cluster.drain_sec,
        available_accelerators=cluster.gpus,
        block_error_handler=windowed_error_handler,
        max_workers_per_node=cluster.workers_per_node,
    )
    return Config(
        executors=[executor],
        strategy="simple",
        strategy_period=1,
        max_idletime=cluster.idle_sec,
        run_dir=str(run_dir),
        initialize_logging=False,
    )
