"""Trials with their outcome, alone or pooled over replicates. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median, stdev

from parsl_optuna.core.ended import Ended
from parsl_optuna.core.objective import SCORE
from parsl_optuna.study.plan.plans import Slot, StudyPlan


def pooled(runs: Sequence[Ended], aggregate: str) -> Ended:
    """Return several runs of a point as one trial, which failed if one of them did.

    Args:
        runs: At least one; the first one stands for the point.
        aggregate: ``mean``, ``median`` or ``worst``.
    """
    first, failed = _with_worst_violations(runs), [run for run in runs if run.values is None]
    if failed:
        return replace(first, outcome=failed[0].outcome, objectives=failed[0].objectives)
    if len(runs) == 1:
        return first
    columns = zip(*(run.values or () for run in runs), strict=True)
    objectives = first.scoring.shown(
        [middle(name, aggregate)(column) for name, column in zip(first.objectives, columns, strict=True)]
    )
    spread = stdev((run.values or (0.0,))[0] for run in runs)
    return replace(first, objectives=objectives, spread=spread)


def _with_worst_violations(runs: Sequence[Ended]) -> Ended:
    """Return the first of several runs; a constraint that one of them misses is missed."""
    names = runs[0].violations
    if len(runs) == 1 or not names:
        return runs[0]
    return replace(runs[0], violations={name: max(run.violations[name] for run in runs) for name in names})


def by_instance(study: StudyPlan, runs: Mapping[Slot, Ended]) -> list[Ended]:
    """Return a point's runs, by (instance, seed), pooled over replicates: one per instance."""
    how = study.replication
    return [
        pooled([runs[index, seed] for seed in range(how.replicates)], how.aggregate)
        for index in range(len(study.instances))
    ]


def as_point(study: StudyPlan, runs: Mapping[Slot, Ended]) -> Ended:
    """Return a point's runs as one: first over replicates, then over problems; ranks are for `ranked`."""
    return pooled(by_instance(study, runs), "worst" if study.replication.across == "worst" else "mean")


class Ranks:
    """Ranks of points among each other at every problem: 0 is the best of them there, 1 the worst.

    Args:
        points: By whatever tells them apart, their trials: one per problem, in one order. A point that failed
            somewhere has no rank.
    """

    def __init__(self, points: Mapping[str, Sequence[Ended]]) -> None:
        import numpy as np  # noqa: PLC0415  a third of a second that few studies need

        good = {key: runs for key, runs in points.items() if all(run.values is not None for run in runs)}
        self._values = {key: np.array([run.values for run in runs], float) for key, runs in good.items()}
        # (points, problems, objectives)
        self._sorted = np.sort(np.array(list(self._values.values())), axis=0)

    def of(self, key: str, runs: Sequence[Ended] | None = None) -> tuple[float, ...] | None:
        """Return the mean over problems of a point's rank among the other ones, per objective.

        Args:
            key: The point.
            runs: Other trials of it, one per problem; None takes those that it was given with.
        """
        import numpy as np  # noqa: PLC0415

        own = self._values.get(key)
        if own is None or any(run.values is None for run in runs or ()):
            return None
        values = own if runs is None else np.array([run.values for run in runs], float)
        # Equal values share the mean of their ranks; the point itself is none of the others.
        below = (self._sorted < values).sum(axis=0) - (own < values)
        equal = (self._sorted == values).sum(axis=0) - (own == values)
        places = (below + 0.5 * equal) / max(len(self._values) - 1, 1)
        return tuple(float(value) for value in places.mean(axis=0))


def middle(name: str, aggregate: str) -> Callable[[Iterable[float]], float]:
    """Return how an objective is pooled; the mean square of scores is bias^2 + variance."""
    return _root_mean_square if name == SCORE and aggregate == "mean" else _AGGREGATES[aggregate]


def _root_mean_square(values: Iterable[float]) -> float:
    return math.sqrt(fmean(value**2 for value in values))


_AGGREGATES: Mapping[str, Callable[[Iterable[float]], float]] = {
    "mean": fmean,
    "median": median,
    "worst": max,
}
