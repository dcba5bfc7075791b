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


def ranked(points: Sequence[Sequence[Ended]]) -> list[tuple[float, ...] | None]:
    """Return for every point the mean over instances of its rank there, from 0 (best) to 1, per objective.

    Args:
        points: Their trials, one per instance, in one order. A point that failed somewhere has no rank.
    """
    import numpy as np  # noqa: PLC0415  a third of a second that few studies need
    from scipy.stats import rankdata  # noqa: PLC0415

    good = [index for index, runs in enumerate(points) if all(run.values is not None for run in runs)]
    if not good:
        return [None] * len(points)
    # (points, instances, objectives); equal values share the mean of their ranks.
    values = np.array([[run.values for run in points[index]] for index in good], dtype=float)
    ranks = (rankdata(values, axis=0) - 1) / max(len(good) - 1, 1)
    means = ranks.mean(axis=1)
    found: list[tuple[float, ...] | None] = [None] * len(points)
    for row, index in enumerate(good):
        found[index] = tuple(float(value) for value in means[row])
    return found


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
