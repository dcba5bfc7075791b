"""Which modules may be loaded before trials are forked."""

from __future__ import annotations

import sys

_LIBRARIES = frozenset(
    {"numpy", "scipy", "pandas", "sklearn", "joblib", "torch", "parsl_optuna", *sys.stdlib_module_names}
)
"""What may be loaded before a fork: libraries that only importing does not make unfit for it."""


def is_loadable(module: str) -> bool:
    """Whether a module may be loaded before trials are forked."""
    return module.split(".", maxsplit=1)[0] in _LIBRARIES
