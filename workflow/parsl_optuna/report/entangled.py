"""Hyperparameters that vary together: an effect of one may be that of another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from parsl_optuna.report import linear
from parsl_optuna.report.configurations import PREFIX, Frame, varied

_ASSOCIATED = 0.05
"""Level of the test that one hyperparameter foretells another; a chance finding only costs power."""


@dataclass(frozen=True)
class Entanglement:
    """How a hyperparameter varies together with others.

    Attributes:
        partners: Hyperparameters that foretell it, or that it foretells, as ``a, b``.
        is_determined: Whether they determine it.
        p: The p-value of what it explains of the ranks of ``y`` beyond them: 0 without partners, and where
            they determine it, as all are tested together then; 1 where no configuration is left to test with.
    """

    partners: str
    is_determined: bool
    p: float

    @property
    def note(self) -> str:
        """What is said of a hyperparameter that cannot be told from others; nothing of one that can."""
        if not self.is_determined:
            return ""
        return f"varies only together with {self.partners}: cannot be told apart"


def entanglement(units: Frame, name: str) -> Entanglement:
    """Return how *name* varies with others, among the configurations in which it has an effect.

    Each column of one (`linear.columns`) is tested against those of the other, corrected for their number.
    One that is missing in some of these configurations, or has a value of its own in each, is no partner.

    Args:
        units: Configurations, from `configurations.means`.
        name: Column of a hyperparameter.
    """
    active = units[units[name].notna()]
    mine = linear.columns(active[name])
    others = [one for one in varied(active) if one != name and active[one].notna().all()]
    columns = {one: linear.columns(active[one]) for one in others}
    theirs = {one: some for one, some in columns.items() if _foretells(some, mine) or _foretells(mine, some)}
    if not theirs:
        return Entanglement("", is_determined=False, p=0.0)
    model = np.column_stack([np.ones(len(active)), *theirs.values()])
    test = linear.added(model, mine, active["y"].rank().to_numpy(dtype=float))
    is_determined = test.added == 0
    p = 0.0 if is_determined else 1.0 if math.isnan(test.p) else test.p
    return Entanglement(", ".join(one.removeprefix(PREFIX) for one in theirs), is_determined, p)


def _foretells(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the columns of one hyperparameter explain some column of another beyond chance."""
    constant = np.ones((len(first), 1))
    tests = [linear.added(constant, first, column) for column in second.T]
    return any(test.p * len(tests) < _ASSOCIATED for test in tests)
