"""Hyperparameter tuning of scientific code on HPC clusters, with Parsl, Optuna and plain files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_optuna.api.estimate import Estimate, estimate_llc

__version__ = "0.1.0"
__all__ = ["Estimate", "__version__", "estimate_llc"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used, so that the commands start at once."""
    if name in ("Estimate", "estimate_llc"):
        from parsl_optuna.api import estimate  # noqa: PLC0415

        return getattr(estimate, name)
    raise AttributeError(f"module 'parsl_optuna' has no attribute '{name}'")
