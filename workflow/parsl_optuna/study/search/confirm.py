"""Fresh replicates of a study's leading points: which point is chosen, and what it is worth.

The best value of a search is the least of many noisy ones, so it flatters its point. Another may be better.
Pure: a round of replicates is a function of what the earlier ones came to, in whatever order they ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from parsl_optuna.core.ended import Ended
from parsl_optuna.core.records import Manifest
from parsl_optuna.core.space import Scalar
from parsl_optuna.study.plan.plans import Slot, StudyPlan
from parsl_optuna.study.pooling import middle, pooled

_MOST_LEADING = 5
_SHARE = 10
"""Fresh replicates may cost one trial in so many of the search: more brings nothing (docs/search.md)."""
_FINALISTS = 2
_OVERLAP = 2.0
"""Two means overlap within so many standard errors of their difference."""


@dataclass(frozen=True)
class Recommendation:
    """The state of the choice among the leading points.

    Attributes:
        chosen: The point with the least mean of all its observations, among those most of whose trials are ok
            if there are any.
        fresh: Its further replicates, each pooled over problems.
        missing: Points and replicate numbers that are to be run before the choice is final.
    """

    chosen: Ended
    fresh: tuple[Ended, ...]
    missing: tuple[tuple[Ended, int], ...]


def most(study: StudyPlan) -> int:
    """Return how many fresh replicates a study is expected to take, each on all of its problems."""
    confirm = study.replication.confirm
    count = _n_leading(study)
    return count + min(count, _FINALISTS) * (confirm - 1) if confirm else 0


def recommend(
    study: StudyPlan, successes: Sequence[Ended], best: Ended, confirmed: Iterable[Ended]
) -> Recommendation:
    """Choose among the leading points of a search that has ended.

    Every leading point gets a fresh replicate; the two of least mean then get theirs up to ``confirm``; while
    the means of these two overlap, both get one more, as long as a tenth of the trials pays for it.

    Args:
        study: The study.
        successes: Its points.
        best: The one of the best value.
        confirmed: Fresh replicates that have ended, of any point.
    """
    leading = _leading(study, successes, best)
    fresh = _fresh(study, confirmed)
    counts = dict.fromkeys(range(len(leading)), 0)
    first, confirm = study.replication.replicates, study.replication.confirm
    want = dict.fromkeys(counts, min(confirm, 1))
    while True:
        missing = [
            (leading[i], seed)
            for i in want
            for seed in range(first + counts[i], first + want[i])
            if seed not in fresh.get(_key(study, leading[i].manifest), {})
        ]
        if missing:
            break
        counts |= want
        observed = [_Observed.of(study, leading[i], fresh, counts[i]) for i in counts]
        top = sorted(counts, key=lambda i: (*observed[i].rank, i))[:_FINALISTS]
        want = {i: confirm for i in top if counts[i] < confirm}
        if not want and _may_race(study, [observed[i] for i in top], sum(counts.values())):
            want = {i: counts[i] + 1 for i in top}
        if not want:
            break
    observed = [_Observed.of(study, leading[i], fresh, counts[i]) for i in counts]
    chosen = min(observed, key=lambda one: one.rank) if confirm else observed[0]
    return Recommendation(chosen.point, chosen.fresh, tuple(missing))


def slots_of(study: StudyPlan, seed: int) -> list[Slot]:
    """Return the trials of one fresh replicate: one per problem."""
    return study.slots(range(seed, seed + 1))


def point_of(study: StudyPlan, manifest: Manifest) -> dict[str, Scalar]:
    """Return the point that a run belongs to."""
    return study.space.active(manifest.hyperparams)


@dataclass(frozen=True)
class _Observed:
    """A point with its fresh replicates: the mean of all it came to, and their spread (both minimised)."""

    point: Ended
    fresh: tuple[Ended, ...]
    mean: float
    values: tuple[float, ...]

    @property
    def rank(self) -> tuple[bool, float]:
        """What it is compared by: whether most of its trials are infeasible, then the mean."""
        trials = (self.point, *self.fresh)
        return 2 * sum(one.violation > 0 for one in trials) > len(trials), self.mean

    @classmethod
    def of(
        cls, study: StudyPlan, point: Ended, fresh: Mapping[str, Mapping[int, Ended]], count: int
    ) -> _Observed:
        first = study.replication.replicates
        mine = fresh.get(_key(study, point.manifest), {})
        runs = tuple(mine[seed] for seed in range(first, first + count))
        values = tuple(math.inf if run.values is None else run.values[0] for run in runs)
        own = point.values[0] if point.values else math.inf
        mean = middle(next(iter(point.objectives)), "mean")([own] * first + list(values))
        return cls(point, runs, mean, values)


def _leading(study: StudyPlan, successes: Sequence[Ended], best: Ended) -> list[Ended]:
    """Return the points of least values, the best one first.

    Ranks among problems, and fronts, have no mean that points could be compared by: there, the best alone.
    """
    if study.replication.across == "rank" or len(best.objectives) > 1:
        return [best]
    others = (one for one in successes if one.manifest.trial_id != best.manifest.trial_id)
    return [best, *sorted(others, key=lambda one: one.place)][: _n_leading(study)]


def _n_leading(study: StudyPlan) -> int:
    spared = _budget(study) - _FINALISTS * (study.replication.confirm - 1)
    return min(max(spared, 1), _MOST_LEADING)


def _budget(study: StudyPlan) -> int:
    return max(study.max_trials // _SHARE, study.replication.confirm)


def _may_race(study: StudyPlan, finalists: Sequence[_Observed], spent: int) -> bool:
    """Whether two points cannot be told apart yet, and the budget has another replicate for both."""
    if len(finalists) < _FINALISTS or spent + len(finalists) > _budget(study):
        return False
    values = [one.values for one in finalists]
    if any(not all(map(math.isfinite, some)) for some in values):
        return False
    freedom = sum(len(some) - 1 for some in values)
    if not freedom:
        return False
    variance = sum((value - fmean(some)) ** 2 for some in values for value in some) / freedom
    counts = [study.replication.replicates + len(some) for some in values]
    error = math.sqrt(variance * sum(1.0 / count for count in counts))
    return abs(finalists[0].mean - finalists[1].mean) < _OVERLAP * error


def _fresh(study: StudyPlan, confirmed: Iterable[Ended]) -> dict[str, dict[int, Ended]]:
    """Return the replicates that ran on all problems, by point and replicate number."""
    parts: dict[tuple[str, int], list[Ended]] = {}
    for entry in confirmed:
        parts.setdefault((_key(study, entry.manifest), entry.manifest.seed), []).append(entry)
    aggregate = "worst" if study.replication.across == "worst" else "mean"
    found: dict[str, dict[int, Ended]] = {}
    for (key, seed), entries in parts.items():
        if len(entries) == len(study.instances):
            found.setdefault(key, {})[seed] = pooled(entries, aggregate)
    return found


def _key(study: StudyPlan, manifest: Manifest) -> str:
    return json.dumps(point_of(study, manifest), sort_keys=True)
