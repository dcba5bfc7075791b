"""Trials with their outcome, alone or pooled over replicates. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, median, stdev

from workflow.records import Asked, Manifest, Outcome, State


@dataclass(frozen=True)
class Ended:
    """A trial with its outcome, or several replicates as one.

    Attributes:
        manifest: What it was; of replicates, the first one.
        asked: How it came about.
        outcome: What came of it; of replicates, the first one, or the first that failed.
        objectives: By name, against the current reference; of replicates, their mean or median.
        spread: Standard deviation of the first objective over replicates; None without them.
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
    """Return replicates as one trial, which failed if one of them did.

    Args:
        runs: At least one, of the same point.
        aggregate: ``mean`` or ``median``.
    """
    ordered = sorted(runs, key=lambda run: run.manifest.seed)
    first, failed = ordered[0], [run for run in ordered if run.values is None]
    if failed:
        return replace(first, outcome=failed[0].outcome, objectives=failed[0].objectives)
    if len(ordered) == 1:
        return first
    middle = fmean if aggregate == "mean" else median
    columns = zip(*(run.values or () for run in ordered), strict=True)
    objectives = {name: middle(column) for name, column in zip(first.objectives, columns, strict=True)}
    return replace(first, objectives=objectives, spread=stdev((run.values or (0.0,))[0] for run in ordered))
