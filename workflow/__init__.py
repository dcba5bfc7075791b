"""Hyperparameter tuning of scientific code on HPC clusters, with Parsl, Optuna and plain files."""

__version__ = "0.1.0"
