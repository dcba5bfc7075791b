"""Fresh replicates of a study's leading points: which point is chosen, and what it is worth.

The best value of a search is the least of many noisy ones, so it flatters its point. Another may be better.
Pure: a round of replicates is a function of what the earlier ones came to, in whatever order they ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from parsl_optuna.core.ended import Ended
from parsl_optuna.study.plan.plans import Slot, StudyPlan
from parsl_optuna.study.search.front import Missing, observed_front
from parsl_optuna.study.search.observed import Fresh, Observed, Standing, budget, gathered, key_of

_MOST_LEADING = 5
_FINALISTS = 2
_OVERLAP = 2.0
"""Two means overlap within so many standard errors of their difference."""


@dataclass(frozen=True)
class Recommendation:
    """The state of the choice among the leading points.

    Attributes:
        chosen: The point with the least mean of all its observations of the first objective, among those most
            of whose trials are ok if there are any.
        fresh: Its further replicates, each pooled over problems.
        missing: Points and replicate numbers that are to be run before the choice is final.
        front: Of several objectives, the members of the front by the means of all observations.
    """

    chosen: Ended
    fresh: tuple[Ended, ...]
    missing: Missing
    front: tuple[Observed, ...] = ()


def most(study: StudyPlan) -> int:
    """Return how many fresh replicates a study is expected to take, each on all of its problems."""
    confirm = study.replication.confirm
    count = _n_leading(study)
    return count + min(count, _FINALISTS) * (confirm - 1) if confirm else 0


def recommend(
    study: StudyPlan,
    successes: Sequence[Ended],
    best: Ended,
    confirmed: Iterable[Ended],
    standing: Standing | None = None,
) -> Recommendation:
    """Choose among the leading points of a search that has ended.

    Args:
        study: The study.
        successes: Its points.
        best: The one of the best value.
        confirmed: Fresh replicates that have ended, of any point.
        standing: What a fresh replicate is compared by; None takes the objectives, pooled over problems.
    """
    fresh = gathered(study, confirmed, standing)
    if len(best.objectives) == 1:
        return _of_one(study, successes, best, fresh)
    members, missing = observed_front(study, successes, fresh)
    chosen = min(members, key=lambda one: (not one.fresh, one.means[0], one.point.age))
    if chosen.is_infeasible:  # all are: the one that misses least is the best
        chosen = next((one for one in members if one.point is best), Observed.of(study, best, fresh, 0))
    return Recommendation(chosen.point, chosen.fresh, missing, tuple(members))


def _of_one(study: StudyPlan, successes: Sequence[Ended], best: Ended, fresh: Fresh) -> Recommendation:
    """Choose by one objective.

    Every leading point gets a fresh replicate; the two of least mean then get theirs up to ``confirm``; while
    the means of these two overlap, both get one more, as long as a tenth of the trials pays for it.
    """
    leading = _leading(study, successes, best)
    counts = dict.fromkeys(range(len(leading)), 0)
    first, confirm = study.replication.replicates, study.replication.confirm
    want = dict.fromkeys(counts, min(confirm, 1))
    while True:
        missing = [
            (leading[i], seed)
            for i in want
            for seed in range(first + counts[i], first + want[i])
            if seed not in fresh.get(key_of(study, leading[i].manifest), {})
        ]
        if missing:
            break
        counts |= want
        observed = [Observed.of(study, leading[i], fresh, counts[i]) for i in counts]
        top = sorted(counts, key=lambda i: (*_rank(observed[i]), i))[:_FINALISTS]
        want = {i: confirm for i in top if counts[i] < confirm}
        if not want and _may_race(study, [observed[i] for i in top], sum(counts.values())):
            want = {i: counts[i] + 1 for i in top}
        if not want:
            break
    observed = [Observed.of(study, leading[i], fresh, counts[i]) for i in counts]
    chosen = min(observed, key=_rank) if confirm else observed[0]
    return Recommendation(chosen.point, chosen.fresh, tuple(missing))


def slots_of(study: StudyPlan, seed: int) -> list[Slot]:
    """Return the trials of one fresh replicate: one per problem."""
    return study.slots(range(seed, seed + 1))


def _rank(one: Observed) -> tuple[bool, float]:
    """Return what a point is compared by."""
    return one.is_infeasible, one.means[0]


def _leading(study: StudyPlan, successes: Sequence[Ended], best: Ended) -> list[Ended]:
    """Return the points of least values, the best one first."""
    others = (one for one in successes if one.manifest.trial_id != best.manifest.trial_id)
    return [best, *sorted(others, key=lambda one: one.place)][: _n_leading(study)]


def _n_leading(study: StudyPlan) -> int:
    spared = budget(study) - _FINALISTS * (study.replication.confirm - 1)
    return min(max(spared, 1), _MOST_LEADING)


def _may_race(study: StudyPlan, finalists: Sequence[Observed], spent: int) -> bool:
    """Whether two points cannot be told apart yet, and the budget has another replicate for both."""
    if len(finalists) < _FINALISTS or spent + len(finalists) > budget(study):
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
    return abs(finalists[0].means[0] - finalists[1].means[0]) < _OVERLAP * error
