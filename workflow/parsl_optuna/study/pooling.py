"""Trials with their outcome, alone or pooled over replicates. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, median, stdev

from parsl_optuna.core.records import Asked, Manifest, Outcome, State
from parsl_optuna.study.plan.tuning import StudyPlan


@dataclass(frozen=True)
class Ended:
    """A trial with its outcome, or several replicates as one.

    Attributes:
        manifest: What it was; of replicates, the first one.
        asked: How it came about.
        outcome: What came of it; of replicates, the first one, or the first that failed.
        objectives: By name, against the current reference; of replicates, their mean or median.
        spread: Standard deviation of the first objective over replicates, or problems; None of a single run.
    """

    manifest: Manifest
    asked: Asked
    outcome: Outcome
    objectives: Mapping[str, float | None]
    spread: float | None = None

    @cached_property
    def values(self) -> tuple[float, ...] | None:
        """All objectives in order; None unless the trial is ok and every one is a number."""
        values = tuple(value for value in self.objectives.values() if value is not None)
        complete = len(values) == len(self.objectives)
        return values if complete and self.outcome.state is State.OK else None

    @property
    def is_pruned(self) -> bool:
        """Whether it was given up."""
        return self.outcome.state is State.PRUNED

    @property
    def pruned_at(self) -> float | None:
        """Its only objective when it was given up; None where it was not, or has several."""
        known = list(self.objectives.values())
        return known[0] if self.is_pruned and len(known) == 1 else None

    @property
    def age(self) -> tuple[float, str, str]:
        """What trials are ordered by."""
        return age_of(self.manifest, self.asked)


def age_of(manifest: Manifest, asked: Asked) -> tuple[float, str, str]:
    """Return what trials are ordered by: number, time of asking, id."""
    number = float("inf") if asked.number is None else asked.number
    return number, asked.at, manifest.trial_id


def pooled(runs: Sequence[Ended], aggregate: str) -> Ended:
    """Return several runs of a point as one trial, which failed if one of them did.

    Args:
        runs: At least one; the first one stands for the point.
        aggregate: ``mean``, ``median`` or ``worst``.
    """
    first, failed = runs[0], [run for run in runs if run.values is None]
    if failed:
        return replace(first, outcome=failed[0].outcome, objectives=failed[0].objectives)
    if len(runs) == 1:
        return first
    columns = zip(*(run.values or () for run in runs), strict=True)
    middle = _AGGREGATES[aggregate]
    objectives = {name: middle(column) for name, column in zip(first.objectives, columns, strict=True)}
    return replace(first, objectives=objectives, spread=stdev((run.values or (0.0,))[0] for run in runs))


def by_site(study: StudyPlan, runs: Mapping[tuple[int, int], Ended]) -> list[Ended]:
    """Return a point's runs, by (site, seed), pooled over replicates: one per site."""
    return [
        pooled([runs[index, seed] for seed in range(study.replicates)], study.aggregate)
        for index in range(len(study.sites))
    ]


def as_point(study: StudyPlan, runs: Mapping[tuple[int, int], Ended]) -> Ended:
    """Return a point's runs as one: first over replicates, then over problems; ranks are for `ranked`."""
    return pooled(by_site(study, runs), "worst" if study.across == "worst" else "mean")


def ranked(points: Sequence[Sequence[Ended]]) -> list[tuple[float, ...] | None]:
    """Return for every point the mean over sites of its rank there, between 0 (best) and 1, per objective.

    Args:
        points: Their runs, one per site, in the same order of sites. One that failed somewhere has no rank.
    """
    import numpy as np  # noqa: PLC0415  a third of a second that few studies need
    from scipy.stats import rankdata  # noqa: PLC0415

    good = [index for index, runs in enumerate(points) if all(run.values is not None for run in runs)]
    if not good:
        return [None] * len(points)
    # (points, sites, objectives); equal values share the mean of their ranks.
    values = np.array([[run.values for run in points[index]] for index in good], dtype=float)
    ranks = (rankdata(values, axis=0) - 1) / max(len(good) - 1, 1)
    means = ranks.mean(axis=1)
    found: list[tuple[float, ...] | None] = [None] * len(points)
    for row, index in enumerate(good):
        found[index] = tuple(float(value) for value in means[row])
    return found


_AGGREGATES: Mapping[str, Callable[[Iterable[float]], float]] = {
    "mean": fmean,
    "median": median,
    "worst": max,
}


def stop_reason(study: StudyPlan, best: float, since: int) -> str | None:
    """Return why a study has had enough, by its target or its patience; None while it has not.

    Args:
        study: The study.
        best: Least first objective so far.
        since: Trials since then.
    """
    if study.target is not None and best <= study.target:
        return f"reached its target: {best:.4g} is at most {study.target:.4g}"
    if study.patience is not None and since >= study.patience:
        return f"no improvement in its last {since} trials"
    return None
