"""Which hyperparameters are seeds: they repeat a configuration, and are no part of it."""

from __future__ import annotations

_ENDINGS = ("seed", "random_state")


def is_seed(name: str) -> bool:
    """Whether a hyperparameter is a seed by its name: ``seed``, ``train.data_seed``, ``random_state``."""
    return name.rpartition(".")[2].lower().endswith(_ENDINGS)
