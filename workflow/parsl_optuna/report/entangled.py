"""Hyperparameters that vary together: an effect of one may be that of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats as _stats

from parsl_optuna.report import linear
from parsl_optuna.report.configurations import PREFIX, Frame, Series, label, varied

stats: Any = _stats  # as in `linear`

_ASSOCIATED = 0.05
"""Level of the test that one hyperparameter foretells another; a chance finding only costs power."""

_EXPLAINED = 1e-9
"""Share of a column's squares below which a rest is that of rounding."""


@dataclass(frozen=True)
class Entanglement:
    """How a hyperparameter varies together with others.

    Attributes:
        partners: Columns of hyperparameters that foretell it, or that it foretells.
        is_determined: Whether they determine it.
    """

    partners: tuple[str, ...]
    is_determined: bool

    @property
    def names(self) -> str:
        """The partners as ``a, b``."""
        return ", ".join(one.removeprefix(PREFIX) for one in self.partners)

    @property
    def note(self) -> str:
        """What is said of a hyperparameter that cannot be told from others; nothing of one that can."""
        return f"varies only together with {self.names}: cannot be told apart" if self.is_determined else ""


class Design:
    """The hyperparameters of configurations, as columns of a linear model.

    Attributes:
        names: Columns of the hyperparameters that vary.
        columns: `linear.columns` of each.
    """

    def __init__(self, units: Frame) -> None:
        """Take the configurations, from `configurations.means`."""
        self.names = varied(units)
        self.columns = {name: linear.columns(units[name]) for name in self.names}
        self._scales = {name for name in self.names if linear.is_scale(units[name].dropna())}
        self._units = units
        self._everywhere = [name for name in self.names if units[name].notna().all()]
        self._bases = {name: linear.basis(self.columns[name]) for name in self._everywhere}
        self._known: dict[tuple[str, str], bool] = {}

    def straight(self, name: str) -> np.ndarray:
        """Return the columns of a hyperparameter without the squares of a scale."""
        return self.columns[name][:, :1] if name in self._scales else self.columns[name]

    def owned(self, name: str) -> frozenset[str]:
        """Return the hyperparameters that only some values of *name* have: momentum, of an optimizer.

        A mean over their values is a part of what these values of *name* do.
        """
        alike = self._units[name].map(label, na_action="ignore")
        others = (one for one in self.names if one not in {name, *self._everywhere})
        return frozenset(one for one in others if _is_owned(self._units[one].notna(), alike))

    def entanglement(self, name: str) -> Entanglement:
        """Return how *name* varies with others that all of these configurations have.

        Each column of one is tested against those of the other, corrected for their number. What has a value
        of its own in each configuration is no partner.
        """
        others = (one for one in self._everywhere if one != name)
        partners = tuple(one for one in others if self._are_associated(min(one, name), max(one, name)))
        if not partners:
            return Entanglement((), is_determined=False)
        theirs = linear.basis(np.column_stack([self.columns[one] for one in partners]))
        rest = _rest(theirs, self.columns[name])
        is_determined = bool((rest <= _EXPLAINED * (self.columns[name] ** 2).sum(0)).all())
        return Entanglement(partners, is_determined)

    def _are_associated(self, first: str, second: str) -> bool:
        pair = (first, second)
        if pair not in self._known:
            self._known[pair] = self._foretells(first, second) or self._foretells(second, first)
        return self._known[pair]

    def _foretells(self, first: str, second: str) -> bool:
        """Whether the columns of one hyperparameter explain some column of another beyond chance."""
        model, told = self._bases[first], self.columns[second]
        added, freedom = model.shape[1] - 1, len(model) - model.shape[1]
        if added < 1 or freedom < 1:
            return False
        before, after = (told**2).sum(0), _rest(model, told)
        after = np.where(after > _EXPLAINED * before, after, 0.0)
        with np.errstate(divide="ignore"):
            f = (before - after) / added / (after / freedom)
        return bool((stats.f.sf(f, added, freedom) * told.shape[1] < _ASSOCIATED).any())


def entanglements(units: Frame) -> dict[str, Entanglement]:
    """Return how each hyperparameter that varies does so with others; see `entanglement`."""
    whole = Design(units)
    return {
        name: whole.entanglement(name) if units[name].notna().all() else entanglement(units, name)
        for name in whole.names
    }


def entanglement(units: Frame, name: str) -> Entanglement:
    """Return how *name* varies with others, among the configurations in which it has an effect.

    Args:
        units: Configurations, from `configurations.means`.
        name: Column of a hyperparameter.
    """
    return Design(units[units[name].notna()]).entanglement(name)


def _is_owned(is_there: Series, alike: Series) -> bool:
    """Whether some value, of several configurations, never has what others have, and not by chance."""
    shares = is_there.groupby(alike).agg(["mean", "size"])
    without = shares[(shares["mean"] == 0) & (shares["size"] > 1)]
    if without.empty:
        return False
    chance = float((1 - is_there.mean()) ** without["size"].sum())
    return chance < _ASSOCIATED or bool(shares["mean"].isin([0, 1]).all())


def _rest(model: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Return the sums of squares ``(k,)`` of columns that an orthonormal *model* leaves."""
    return ((told - model @ (model.T @ told)) ** 2).sum(0)
