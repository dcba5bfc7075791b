"""The only importer of Optuna: an in-memory study that is a fold over trials, and can be asked.

The study is rebuilt from the artifacts at every start. The sampler is made anew for every ask from
(study seed, trial number, attempt), so a proposal depends on what was told and not on what was asked
in an earlier life.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from workflow.ids import derive_seed
from workflow.space import Dimension, Float, Int, Scalar
from workflow.study.plan import StudyPlan

optuna.logging.set_verbosity(optuna.logging.ERROR)

Values = Sequence[float] | None
"""Objective values of an ended trial; None for a failed one."""


class Search:
    """An Optuna study that minimises, driven by trial numbers of our own.

    Args:
        plan: Space, seed and sampler.
        n_objectives: Number of values per trial.
    """

    def __init__(self, plan: StudyPlan, n_objectives: int) -> None:
        self._plan = plan
        self._distributions = {
            name: _distribution(dimension) for name, dimension in plan.space.dimensions.items()
        }
        self._numbers: dict[int, int] = {}
        self._study = optuna.create_study(
            study_name=f"{plan.pid}:{plan.method}", directions=[StudyDirection.MINIMIZE] * n_objectives
        )

    def restore(self, number: int, point: Mapping[str, Scalar], values: Values, *, ended: bool) -> None:
        """Add a trial of an earlier life: ended with *values* (None: failed), or still running."""
        state = TrialState.RUNNING
        if ended:
            state = TrialState.COMPLETE if values is not None else TrialState.FAIL
        trial = optuna.trial.create_trial(
            state=state,
            values=list(values) if state is TrialState.COMPLETE and values is not None else None,
            params=dict(point),
            distributions=self._distributions,
        )
        self._numbers[number] = len(self._study.trials)
        self._study.add_trial(trial)

    def ask(self, number: int, attempt: int = 0, *, at_random: bool = False) -> dict[str, Scalar]:
        """Propose a point for trial *number*; a later *attempt* proposes another one."""
        self._study.sampler = self._sampler(number, attempt, at_random=at_random)
        trial = self._study.ask(self._distributions)
        self._numbers[number] = trial.number
        return dict(trial.params)

    def suggest(self, number: int, guess: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a first guess as trial *number*, completed by the sampler where it is partial."""
        self._study.enqueue_trial(dict(guess))
        return self.ask(number)

    def tell(self, number: int, values: Values) -> None:
        """End trial *number* with its objective values; None tells a failure."""
        trial = self._numbers[number]
        if values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(values))

    def pickled(self) -> bytes:
        """Return the study as bytes for notebooks."""
        return pickle.dumps(self._study)

    def _sampler(self, number: int, attempt: int, *, at_random: bool) -> BaseSampler:
        seed = derive_seed("ask", self._plan.seed, number, attempt) % 2**32
        if at_random or self._plan.sampler == "random":
            return RandomSampler(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return TPESampler(seed=seed, n_startup_trials=self._plan.n_startup_trials)


def pareto_front(values: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices that no other entry is at least as good as in all and better in one."""
    front = []
    for index, mine in enumerate(values):
        beaten = any(
            all(a <= b for a, b in zip(other, mine, strict=True)) and tuple(other) != tuple(mine)
            for other in values
        )
        if not beaten:
            front.append(index)
    return front


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Float):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return CategoricalDistribution(dimension.choices)
