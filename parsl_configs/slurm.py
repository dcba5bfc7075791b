r"""Blocks of workers as SLURM jobs.

What to ask for stands in the block ``cluster`` of the configuration, or after ``--set``:

    parsl-optuna --config FILE --parsl-config slurm \
        --set partition=cpu --set walltime=02:00:00 --set cores=16

With ``gpus: 4`` every node starts four workers, and each sees one GPU.
"""

from parsl_optuna.execution.configs import slurm_config


def config(cluster):
    """Return the configuration for a `parsl_optuna.core.resources.ClusterSpec`."""
    return slurm_config(cluster)
