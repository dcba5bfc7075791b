"""Hyperparameter tuning of scientific code on HPC clusters, with Parsl, Optuna and plain files."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_optuna.api.estimate import Estimate, estimate_llc
    from parsl_optuna.api.gamma import GammaSweep, gamma_sweep
    from parsl_optuna.api.study import Study
    from parsl_optuna.api.training import Trajectory, estimate_over
    from parsl_optuna.tasks.base import Task

__version__ = "0.1.0"
__all__ = [
    "Estimate",
    "GammaSweep",
    "Study",
    "Task",
    "Trajectory",
    "__version__",
    "estimate_llc",
    "estimate_over",
    "gamma_sweep",
]

_MODULES = {
    "Estimate": "api.estimate",
    "GammaSweep": "api.gamma",
    "Study": "api.study",
    "Task": "tasks.base",
    "Trajectory": "api.training",
    "estimate_llc": "api.estimate",
    "estimate_over": "api.training",
    "gamma_sweep": "api.gamma",
}


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used, so that the commands start at once."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"parsl_optuna.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'parsl_optuna' has no attribute '{name}'")
