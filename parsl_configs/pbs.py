r"""Blocks of workers as PBS Pro or OpenPBS jobs.

What to ask for stands in the block ``cluster`` of the configuration, or after ``--set``:

    parsl-optuna --config FILE --parsl-config pbs \
        --set partition=workq --set walltime=02:00:00 --set cores=16

With ``gpus: 4`` every node starts four workers, and each sees one GPU.
"""

from parsl_optuna.execution.configs import pbs_config


def config(cluster):
    """Return the configuration for a `parsl_optuna.core.resources.ClusterSpec`."""
    return pbs_config(cluster)
