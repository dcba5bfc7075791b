"""A trial that has ended: its manifest, its outcome and its objectives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from parsl_optuna.core.constraint import excess
from parsl_optuna.core.objective import DIAGNOSIS, Scoring, violation_of
from parsl_optuna.core.records import Asked, Comparison, Manifest, Outcome, ReferenceValue, State, Trial


@dataclass(frozen=True)
class Ended:
    """A trial with its outcome, or several trials of one point as one.

    Attributes:
        manifest: Its manifest; of several, the first one.
        asked: Who proposed it, when, and why.
        outcome: Its outcome; of several, the first one, or the first that failed.
        objectives: By name, as people see them; of several, their mean, median or worst.
        scoring: How they were computed.
        reference: The reference that they were computed with; None without one.
        label: The problem's label.
        spread: Standard deviation of the first objective over replicates, or problems; None of one trial.
        violations: By how much each constraint is missed, by its text, at most 0 where it is met; how far the
            diagnosis is from ``ok`` is one of them. Of several trials, the most.
    """

    manifest: Manifest
    asked: Asked
    outcome: Outcome
    objectives: Mapping[str, float | None]
    scoring: Scoring
    reference: ReferenceValue | None = None
    label: str = ""
    spread: float | None = None
    violations: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def minimised(self) -> tuple[float, ...] | None:
        """All objectives in order, as the search sees them; None unless every one is a number."""
        return self.scoring.minimised(self.objectives)

    @property
    def values(self) -> tuple[float, ...] | None:
        """What is reported to the search; None unless the trial is ok and every objective is a number."""
        return self.minimised if self.outcome.state is State.OK else None

    @cached_property
    def violation(self) -> float:
        """By how much constraints are missed in all; it is infeasible above 0."""
        return excess(self.violations.values())

    @property
    def is_pruned(self) -> bool:
        """Whether it was stopped early."""
        return self.outcome.state is State.PRUNED

    @property
    def pruned_at(self) -> float | None:
        """The only objective of a pruned trial, as the search sees it; None of others, or with several."""
        values = self.minimised if self.is_pruned else None
        return values[0] if values is not None and len(values) == 1 else None

    @property
    def place(self) -> tuple[float, tuple[float, ...], tuple[float, str, str]]:
        """What points are ordered by, the best first: behind all others infeasible ones, by violation."""
        return self.violation, self.values or (), self.age

    @property
    def age(self) -> tuple[float, str, str]:
        """Sort key of trials: see `age_of`."""
        return age_of(self.manifest, self.asked)


def age_of(manifest: Manifest, asked: Asked) -> tuple[float, str, str]:
    """Return the sort key of trials: number, time of asking, id."""
    number = float("inf") if asked.number is None else asked.number
    return number, asked.at, manifest.trial_id


def score(
    trial: Trial,
    outcome: Outcome,
    scoring: Scoring,
    comparison: Comparison | None,
    reference: ReferenceValue | None,
    label: str,
) -> Ended:
    """Score an outcome: the one way by which the driver and the table compute objectives.

    Args:
        trial: The trial.
        outcome: Its outcome.
        scoring: What is optimised.
        comparison: Which metrics are compared; None for a task without reference.
        reference: The reference; None without one.
        label: The problem's label.
    """
    values = {**outcome.metrics, "runtime_sec": outcome.runtime_sec}
    objectives = scoring.scores(values, comparison, reference)
    violations = scoring.violations(values)
    if comparison is not None and comparison.violation is not None:
        violations = {DIAGNOSIS: violation_of(outcome.metrics, comparison), **violations}
    return Ended(
        trial.manifest, trial.asked, outcome, objectives, scoring, reference, label, violations=violations
    )
