"""Hyperparameters that vary together: an effect of one may be that of another."""

from __future__ import annotations

import numpy as np

from parsl_optuna.report import linear
from parsl_optuna.report.configurations import PREFIX, Frame, varied

_ASSOCIATED = 0.05
"""Level of the test that one hyperparameter foretells another; a chance finding only costs power."""


def partners(units: Frame, name: str) -> list[str]:
    """Return the hyperparameters that foretell *name*, or that it foretells, where it has an effect.

    Each column of one (`linear.columns`) is tested against those of the other, corrected for their number.
    One that is missing in some of these configurations, or has a value of its own in each, is no partner.

    Args:
        units: Configurations, from `configurations.means`.
        name: Column of a hyperparameter.
    """
    active = units[units[name].notna()]
    others = [one for one in varied(active) if one != name and active[one].notna().all()]
    mine = linear.columns(active[name])
    theirs = {one: linear.columns(active[one]) for one in others}
    return [one for one, columns in theirs.items() if _foretells(columns, mine) or _foretells(mine, columns)]


def beyond(units: Frame, name: str, others: list[str]) -> linear.FTest:
    """Test what *name* explains of the ranks of ``y`` beyond *others*.

    It adds no coefficient if they determine it.
    """
    active = units[units[name].notna()]
    model = np.column_stack([np.ones(len(active)), *(linear.columns(active[one]) for one in others)])
    ranks = active["y"].rank().to_numpy(dtype=float)
    return linear.added(model, linear.columns(active[name]), ranks)


def inseparable(units: Frame, name: str) -> str:
    """Return the hyperparameters that determine *name*, as ``a, b``; nothing if none do."""
    others = partners(units, name)
    return plain(others) if others and beyond(units, name, others).added == 0 else ""


def note(others: str) -> str:
    """Return the note on a hyperparameter that *others*, as ``a, b``, determine; nothing without them."""
    return f"varies only together with {others}: cannot be told apart" if others else ""


def plain(names: list[str]) -> str:
    """Return the names of columns as people know them, as ``a, b``."""
    return ", ".join(one.removeprefix(PREFIX) for one in names)


def _foretells(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the columns of one hyperparameter explain some column of another beyond chance."""
    constant = np.ones((len(first), 1))
    tests = [linear.added(constant, first, column) for column in second.T]
    return any(test.p * len(tests) < _ASSOCIATED for test in tests)
