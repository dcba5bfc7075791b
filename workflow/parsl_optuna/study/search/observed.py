"""A point of a search with its fresh replicates: what all its observations come to. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from parsl_optuna.core.ended import Ended
from parsl_optuna.core.records import Manifest
from parsl_optuna.core.space import Scalar, point_key
from parsl_optuna.study.plan.plans import StudyPlan
from parsl_optuna.study.pooling import middle, pooled

Values = tuple[float, ...] | None
"""What points are compared by, one number per objective, minimised; None of a failure."""

Standing = Callable[[str, Sequence[Ended]], Values]
"""Returns what a point, told by its id, is compared by after further trials, one per problem in order."""

_SHARE = 10
"""Fresh replicates may cost one trial in so many of the search: more brings nothing (docs/search.md)."""


@dataclass(frozen=True)
class Replicate:
    """A fresh replicate of a point on all problems: pooled over these, and what it is compared by."""

    run: Ended
    values: Values


Fresh = Mapping[str, Mapping[int, Replicate]]
"""Fresh replicates by point and number."""


@dataclass(frozen=True)
class Observed:
    """A point, and what is known of it.

    Attributes:
        point: The point.
        fresh: Its fresh replicates, each pooled over problems.
        means: Per objective the mean of all that it came to, minimised.
        values: The first objective of each fresh replicate, minimised.
    """

    point: Ended
    fresh: tuple[Ended, ...]
    means: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def is_infeasible(self) -> bool:
        """Whether most of its trials miss a constraint."""
        trials = (self.point, *self.fresh)
        return 2 * sum(one.violation > 0 for one in trials) > len(trials)

    @classmethod
    def of(cls, study: StudyPlan, point: Ended, fresh: Fresh, count: int) -> Observed:
        """Return a point with its first *count* fresh replicates."""
        first, names = study.replication.replicates, tuple(point.objectives)
        mine = fresh.get(key_of(study, point.manifest), {})
        runs = [mine[seed] for seed in range(first, first + count)]
        lost = (math.inf,) * len(names)
        every = [point.values or lost] * first + [run.values or lost for run in runs]
        means = [
            middle(name, "mean")(column) for name, column in zip(names, zip(*every, strict=True), strict=True)
        ]
        return cls(
            point, tuple(run.run for run in runs), tuple(means), tuple(one[0] for one in every[first:])
        )


def gathered(study: StudyPlan, confirmed: Iterable[Ended], standing: Standing | None) -> Fresh:
    """Return the fresh replicates that ran on all problems.

    Args:
        study: The study.
        confirmed: Trials of fresh replicates that have ended, of any point.
        standing: What a replicate is compared by; None takes the objectives, pooled over problems.
    """
    parts: dict[tuple[str, int], list[Ended]] = {}
    for entry in confirmed:
        parts.setdefault((key_of(study, entry.manifest), entry.manifest.seed), []).append(entry)
    aggregate = "worst" if study.replication.across == "worst" else "mean"
    found: dict[str, dict[int, Replicate]] = {}
    for (key, seed), entries in parts.items():
        if len(entries) == len(study.instances):
            runs = sorted(entries, key=lambda one: study.slot_of(one.manifest))
            whole = pooled(runs, aggregate)
            values = whole.values if standing is None else standing(key, runs)
            found.setdefault(key, {})[seed] = Replicate(whole, values)
    return found


def budget(study: StudyPlan) -> int:
    """Return how many fresh replicates a study may take, each on all of its problems."""
    confirm = study.replication.confirm
    return max(study.max_trials // _SHARE, confirm) if confirm else 0


def point_of(study: StudyPlan, manifest: Manifest) -> dict[str, Scalar]:
    """Return the point that a run belongs to."""
    return study.space.active(manifest.hyperparams)


def key_of(study: StudyPlan, manifest: Manifest) -> str:
    """Return what all trials of a point share."""
    return point_key(point_of(study, manifest))
