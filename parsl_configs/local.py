"""Runs on one machine, as ``--local`` has it: one single-threaded worker process per core.

A starting point for a file of your own; ``parsl-optuna --parsl-config FILE`` takes any Python file
that defines ``config``, a ``parsl.Config`` or a function that returns one.
"""

from parsl_optuna.execution.configs import local_config


def config():
    """Return the configuration."""
    return local_config()
