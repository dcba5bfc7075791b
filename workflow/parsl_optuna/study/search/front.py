"""The Pareto front of a search that has ended, its members observed again. Pure.

A front of noisy values is one of lucky ones, each in its own direction. Members get fresh replicates, and
the front is that of the means of all observations; a point that joins it in place of one that fell back is
observed again too.
"""

from __future__ import annotations

from collections.abc import Sequence

from parsl_optuna.core.ended import Ended
from parsl_optuna.study.plan.plans import StudyPlan
from parsl_optuna.study.search.observed import Fresh, Observed, budget, key_of

Missing = tuple[tuple[Ended, int], ...]
"""Points, and replicate numbers that are to be run."""


def pareto_front(values: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices that no other entry is at least as good as in all and better in one."""
    front: list[int] = []
    for index in sorted(range(len(values)), key=lambda i: tuple(values[i])):  # only earlier ones can beat it
        mine = tuple(values[index])
        beaten = any(
            tuple(values[other]) != mine and all(a <= b for a, b in zip(values[other], mine, strict=True))
            for other in front
        )
        if not beaten:
            front.append(index)
    return sorted(front)


def observed_front(
    study: StudyPlan, successes: Sequence[Ended], fresh: Fresh
) -> tuple[list[Observed], Missing]:
    """Return the front by the means of all observations, and what is to be run before it is final.

    All members get one fresh replicate, then another one up to ``confirm``, as far as the budget goes; where
    it does not go round, members spread over the front are taken, both ends among them.

    Args:
        study: The study.
        successes: Its points.
        fresh: Fresh replicates of any of them.
    """
    observed = [Observed.of(study, one, fresh, 0) for one in successes]
    first, left = study.replication.replicates, budget(study)
    while True:
        members = _members(observed)
        waiting = [i for i in members if len(observed[i].fresh) < study.replication.confirm]
        least = min((len(observed[i].fresh) for i in waiting), default=0)
        chosen = _spread([i for i in waiting if len(observed[i].fresh) == least], left)
        points = [observed[i].point for i in chosen]
        number = first + least
        missing = tuple(
            (one, number) for one in points if number not in fresh.get(key_of(study, one.manifest), {})
        )
        if missing or not chosen:
            return [observed[i] for i in members], missing
        for i in chosen:
            observed[i] = Observed.of(study, observed[i].point, fresh, least + 1)
        left -= len(chosen)


def _members(observed: Sequence[Observed]) -> list[int]:
    """Return the front of the feasible points if there are any, in order of the first objective."""
    feasible = [i for i, one in enumerate(observed) if not one.is_infeasible] or list(range(len(observed)))
    front = [feasible[k] for k in pareto_front([observed[i].means for i in feasible])]
    return sorted(front, key=lambda i: (observed[i].means, observed[i].point.age))


def _spread(ordered: Sequence[int], count: int) -> list[int]:
    """Return at most *count* of them, evenly, the first one and the last one among them."""
    if len(ordered) <= count:
        return list(ordered)
    if count < 2:
        return list(ordered[:count])
    return [ordered[round(k * (len(ordered) - 1) / (count - 1))] for k in range(count)]
