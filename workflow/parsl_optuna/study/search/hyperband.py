"""The early termination of W&B sweeps, by its own rule. Pure.

Runs are compared at brackets, counted in logged values: a running one is stopped when it is worse than
the best 1/eta of all that got as far.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import SpecError


@dataclass(frozen=True)
class HyperbandSettings:
    """The block ``early_terminate`` of a sweep.

    Attributes:
        min_iter: First bracket; further ones at ``min_iter * eta**k``.
        max_iter: Brackets at ``max_iter / eta**k`` for k = 1..s instead; goes with *s*.
        s: Number of brackets below *max_iter*.
        eta: Factor between brackets, above 1.
        strict: Whether a run is scored by its value at the bracket and not by its best one.
    """

    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    eta: float = 3.0
    strict: bool = False

    def __post_init__(self) -> None:
        if (self.min_iter is None) == (self.max_iter is None):
            raise SpecError("give either min_iter, or max_iter with s")
        if (self.max_iter is None) != (self.s is None):
            raise SpecError("max_iter and s go together")
        for name in ("min_iter", "max_iter", "s"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SpecError(f"{name} {getattr(self, name)} must be at least 1")
        if not self.eta > 1:
            raise SpecError(f"eta {self.eta} must be above 1")

    def brackets(self, longest: int) -> list[int]:
        """Return the brackets up to *longest* logged values, ascending."""
        if self.max_iter is not None:
            steps = itertools.accumulate([self.max_iter, *[self.eta] * (self.s or 0)], operator.truediv)
            return sorted({int(step) for step in list(steps)[1:] if step >= 1 and int(step) <= longest})
        assert self.min_iter is not None
        # Repeated products, not powers: rounding is then W&B's own.
        steps = itertools.accumulate(itertools.repeat(self.eta), operator.mul, initial=float(self.min_iter))
        return [int(step) for step in itertools.takewhile(lambda step: int(step) <= longest, steps)]


class WandbHyperband:
    """Compares runs by their histories.

    Args:
        bands: The brackets.
    """

    def __init__(self, bands: HyperbandSettings) -> None:
        self._bands = bands
        self._histories: dict[str, dict[int, float]] = {}

    def report(self, trial_id: str, step: int, value: float) -> None:
        """Add a logged value; one of a step that is repeated, after a restart, counts once."""
        self._histories.setdefault(trial_id, {})[step] = value

    def end(self, trial_id: str, value: float | None) -> None:
        """Do nothing: a run that has ended goes on counting."""
        del trial_id, value

    def reason_to_stop(self, trial_id: str) -> str | None:
        """Return why a running trial is to stop, or None."""
        history = list(self._histories.get(trial_id, {}).values())
        reached = self._bands.brackets(len(history))
        if not reached:
            return None
        bracket = reached[-1]
        limit = self._threshold(bracket)
        value = history[bracket - 1] if self._bands.strict else min(history)
        if value <= limit:
            return None
        after = counted(bracket, "value")
        return f"{value:.4g} after {after} is worse than {limit:.4g}, the limit of that bracket"

    def _threshold(self, bracket: int) -> float:
        histories = [list(one.values()) for one in self._histories.values() if len(one) >= bracket]
        values = [history[bracket - 1] for history in histories]
        return _at_share(values, self._bands.eta)


def _at_share(values: Sequence[float], eta: float) -> float:
    return sorted(values)[int(1.0 / eta * len(values))]  # in W&B's order: it rounds
