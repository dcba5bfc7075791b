"""Which sampler ``auto`` takes, and why."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from parsl_optuna.core.counted import counted
from parsl_optuna.study.plan.plans import StudyPlan

_MOST_TRIALS = 3000
"""The model knows 1,000 trials, and a part of more; beyond this many, TPE is taken, which knows all."""

_ASK_SEC = ((0.02, 2.5e-4), (0.006, 2e-5))
"""CPU time of a proposal: a part, and a part per trial; the second pair is per parameter.

Of 8 parameters 0.1 s at 100 trials, 0.5 s at 1,000 (`benchmarks.bench_search_cost`); of 50, 0.4 and 1.6 s.
"""


class Choice(NamedTuple):
    """A sampler, and why it is the one."""

    sampler: str
    reason: str


def choose(plan: StudyPlan, n_known: int, seconds: Sequence[float]) -> Choice:
    """Return the sampler that proposes the next trial.

    Args:
        plan: The study.
        n_known: Trials that have ended or run.
        seconds: How long those took that have ended, in any order.
    """
    if plan.search.sampler != "auto":
        return Choice(plan.search.sampler, "it is configured")
    if plan.max_trials > _MOST_TRIALS:
        return Choice("tpe", f"{plan.max_trials} trials are too many for a Gaussian process")
    if seconds and median(seconds) < plan.batch_size * ask_sec(plan, n_known):
        return Choice(
            "tpe",
            f"a trial takes {median(seconds):.2g} s, in which no Gaussian process can propose for "
            f"{counted(plan.batch_size, 'worker')}",
        )
    return Choice("rank_gp", "a Gaussian process pays with trials of this number and length")


def ask_sec(plan: StudyPlan, n_known: int) -> float:
    """Return about how long a proposal of the Gaussian process takes, in seconds.

    Args:
        plan: The study.
        n_known: Trials that have ended or run; those of other studies are known too.
    """
    (alone, per_trial), (of_each, of_each_per_trial) = _ASK_SEC
    count, n_known = len(plan.space.dimensions), n_known + len(plan.search.learned)
    return alone + of_each * count + (per_trial + of_each_per_trial * count) * n_known
