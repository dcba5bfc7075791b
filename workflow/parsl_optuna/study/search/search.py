"""An Optuna study in memory that is a fold over trials, and can be asked.

The study is rebuilt from the artifacts at every start. The sampler is made anew for every ask from
(study seed, trial number, attempt), so a proposal depends on what was told and not on what was asked
in an earlier life.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.records import Asked
from parsl_optuna.core.space import Scalar, Space, point_key
from parsl_optuna.study.plan.plans import StudyPlan
from parsl_optuna.study.search import classes, constraints
from parsl_optuna.study.search.choice import Choice, choose
from parsl_optuna.study.search.codes import Codes, suggest
from parsl_optuna.study.search.history import REFUSED
from parsl_optuna.study.search.samplers import Ask, make_sampler, remembers

optuna.logging.set_verbosity(optuna.logging.ERROR)

_MOST_POINTS = 200_000

Values = Sequence[float] | None
"""Objective values of an ended trial; None for a failed one."""


class Search:
    """An Optuna study that minimises, driven by trial numbers of our own.

    Args:
        plan: Space, seed and sampler.
        n_objectives: Number of values per trial.
        is_constrained: Whether trials that ended may be infeasible.
    """

    def __init__(self, plan: StudyPlan, n_objectives: int, *, is_constrained: bool = False) -> None:
        self._plan, self._is_constrained = plan, is_constrained
        self._codes = Codes(plan.space)
        self._study_seed = derive_seed("sampler", plan.search.seed)
        self._numbers: dict[int, int] = {}
        self._asked: set[int] = set()
        self._seen: set[str] = set()
        self._seconds: list[float] = []
        self._common: Any = None
        self._is_foreign = classes.is_class(plan.search.sampler)
        self._foreign: BaseSampler | None = None
        if plan.search.sampler == "auto" and plan.search.sampler_params:
            raise SpecError("$.optuna.sampler: 'auto' has no parameters; name a sampler, like rank_gp or tpe")
        if plan.search.sampler in ("grid", "brute_force") and math.isinf(plan.space.size()):
            dimensions = plan.space.dimensions.items()
            infinite = (key for key, one in dimensions if math.isinf(Space({key: one}).size()))
            name = next(infinite, next(iter(plan.space.dimensions)))
            needs = f"needs a finite space; give '{name}' a step or choices"
            raise SpecError(f"$.optuna.sampler: '{plan.search.sampler}' {needs}")
        if plan.search.sampler == "grid":
            self._grid = plan.space.points()
        elif plan.search.sampler == "cmaes" and n_objectives > 1:
            raise SpecError("$.optuna.sampler: 'cmaes' knows one objective only; take nsgaii or tpe")
        else:
            self._sampler(0, 0)  # tells mistakes before anything runs
        self._n_objectives = n_objectives
        self._late: list[Callable[[], None]] = []
        self._made: optuna.Study | None = None

    @property
    def _study(self) -> optuna.Study:
        """The study, made when it is needed: one that has ended is never asked."""
        if self._made is None:
            self._made = optuna.create_study(
                study_name=f"{self._plan.pid}:{self._plan.method}",
                directions=[StudyDirection.MINIMIZE] * self._n_objectives,
            )
            if self._is_foreign:  # some samplers would stop a loop of Optuna's, and there is none
                setattr(self._made, "stop", _nothing)  # noqa: B010
                self._made.sampler = self._sampler(0, 0)
            for restore in self._late:
                restore()
        return self._made

    @property
    def choice(self) -> Choice:
        """The sampler that proposes now, and why."""
        return choose(self._plan, len(self._asked), self._seconds)

    def learn(
        self,
        point: Mapping[str, Scalar],
        value: float,
        violations: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Add what another study found."""
        attributes = constraints.attributes(violations)
        self._late.append(lambda: self._learn(point, value, attributes))

    def _learn(self, point: Mapping[str, Scalar], value: float, attributes: dict[str, Any]) -> None:
        self._add(point, [value], TrialState.COMPLETE, attributes)

    def restore(
        self,
        number: int,
        point: Mapping[str, Scalar],
        values: Values,
        asked: Asked,
        *,
        ended: bool,
        pruned_at: float | None = None,
        seconds: float | None = None,
        violations: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Add a trial of an earlier life: ended as `tell` takes it, or still running.

        To be called before anything is asked.
        """
        self._note(seconds)
        self._asked.add(number)
        self._late.append(
            lambda: self._restore(
                number, point, values, asked, ended=ended, pruned_at=pruned_at, violations=violations
            )
        )

    def _restore(
        self,
        number: int,
        point: Mapping[str, Scalar],
        values: Values,
        asked: Asked,
        *,
        ended: bool,
        pruned_at: float | None,
        violations: Mapping[str, float],
    ) -> None:
        attributes: dict[str, Any] = {}
        if remembers(self._plan.search.sampler) and asked.by == "search":
            again = self._ask_again(number, asked.attempt)
            if again == point:
                if ended:
                    self.tell(number, values, pruned_at, violations=violations)
                return
            # With several trials in flight the order of events was another one: keep what was run.
            attributes = self._study.get_trials(deepcopy=False)[self._numbers[number]].system_attrs
            self.refuse(number)
        state = TrialState.RUNNING
        if ended:
            state = TrialState.COMPLETE if values is not None else TrialState.FAIL
        if pruned_at is not None:
            state, values = TrialState.PRUNED, [pruned_at]
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            is_pruned = state is TrialState.PRUNED
            attributes = {**attributes, **constraints.attributes(violations, is_pruned=is_pruned)}
        self._numbers[number] = self._add(point, values, state, attributes)

    def _ask_again(self, number: int, attempts: int) -> dict[str, Scalar]:
        """Ask as in the earlier life, refusals included, so that the sampler notes what it noted then."""
        for attempt in range(attempts):
            self.ask(number, attempt)
            self.refuse(number)
        return self.ask(number, attempts)

    def ask(self, number: int, attempt: int = 0, *, at_random: bool = False) -> dict[str, Scalar]:
        """Propose a point for trial *number*; a later *attempt* proposes another one."""
        study = self._study
        if self._plan.search.sampler == "grid":
            point = next((one for one in self._grid if point_key(one) not in self._seen), None)
            if point is not None:
                study.enqueue_trial(self._codes.encode(point))
            at_random = True
        if at_random:
            study.sampler = RandomSampler(self._seed(number, attempt) % 2**32)
        else:
            study.sampler = self._sampler(number, attempt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            with self._blamed():
                trial = self._asked_of(study)
        if self._is_foreign:
            study.sampler = self._sampler(number, attempt)  # what ends is told to it, whoever proposed it
        self._numbers[number] = trial.number
        self._asked.add(number)
        point = self._decoded(trial.params)
        self._seen.add(point_key(point))
        return point

    def _asked_of(self, study: optuna.Study) -> optuna.Trial:
        """Ask for a trial: of parameters with conditions one by one, of those that are active."""
        space = self._plan.space
        if not space.conditions:
            return study.ask(self._codes.distributions)
        trial, point = study.ask(), {}
        for name in space.ordered:
            if space.is_active(name, point):
                point[name] = suggest(trial, name, space.dimensions[name])
        return trial

    def _decoded(self, params: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return a proposal as a point; a user's sampler may propose anything."""
        point = self._codes.decode(params)
        if self._is_foreign and not self._plan.space.contains(point):
            name = self._plan.search.sampler
            raise SpecError(f"$.optuna.sampler: '{name}' proposed {point}, which is outside the search space")
        return point

    def _blamed(self) -> contextlib.AbstractContextManager[None]:
        """Tell what a user's sampler raises in one line."""
        if not self._is_foreign:
            return contextlib.nullcontext()
        return classes.blamed("$.optuna.sampler", self._plan.search.sampler)

    def leftover(self, number: int) -> dict[str, Scalar] | None:
        """Propose, for trial *number*, one of the points of a small finite space that are left; or None."""
        if self._plan.space.size() > _MOST_POINTS:
            return None
        left = [point for point in self._plan.space.points() if point_key(point) not in self._seen]
        if not left:
            return None
        return self.suggest(number, random.Random(self._seed(number, 0)).choice(left))

    def suggest(self, number: int, guess: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return a first guess as trial *number*, completed by the sampler where it is partial."""
        self._study.enqueue_trial(self._codes.encode(guess))
        is_whole = guess.keys() == self._plan.space.dimensions.keys()  # a sampler has nothing to complete
        return self.ask(number, at_random=is_whole and not remembers(self._plan.search.sampler))

    def refuse(self, number: int) -> None:
        """Take back what was proposed for trial *number*: it never runs, and counts as nothing."""
        trial = self._study.get_trials(deepcopy=False)[self._numbers[number]]
        self._study._storage.set_trial_user_attr(trial._trial_id, REFUSED, number)
        with self._blamed():
            self._study.tell(trial.number, state=TrialState.FAIL)

    def tell(
        self,
        number: int,
        values: Values,
        pruned_at: float | None = None,
        seconds: float | None = None,
        violations: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """End trial *number* with its objective values; None tells a failure.

        A trial that was given up at a value is told as pruned there, which samplers learn from. How many
        *seconds* it took is part of what ``auto`` chooses by. *violations* say by how much it misses each
        constraint.
        """
        self._note(seconds)
        study = self._study  # what is still to be restored has its number only then
        trial = self._numbers[number]
        if values is not None or pruned_at is not None:
            trial_id = study.get_trials(deepcopy=False)[trial]._trial_id
            is_pruned = pruned_at is not None
            for key, value in constraints.attributes(violations, is_pruned=is_pruned).items():
                study._storage.set_trial_system_attr(trial_id, key, value)
        if pruned_at is not None:
            # Optuna takes the value of a pruned trial from its reports.
            handle = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[trial]._trial_id)
            handle.report(pruned_at, 0)
        with self._blamed():
            if pruned_at is not None:
                study.tell(trial, state=TrialState.PRUNED)
            elif values is None:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, list(values))

    def pickled(self) -> bytes:
        """Return the study as bytes for notebooks, which may not have a user's sampler."""
        is_shown = self._is_foreign or self._codes.are_needed
        return pickle.dumps(self._codes.decoded(self._study) if is_shown else self._study)

    def should_terminate(self) -> bool:
        """Whether Optuna's terminator sees nothing left to gain."""
        # They need torch and scipy, which the other samplers and rules do not.
        from optuna.terminator import EMMREvaluator, MedianErrorEvaluator, Terminator  # noqa: PLC0415

        improvement = EMMREvaluator()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            terminator = Terminator(improvement, MedianErrorEvaluator(improvement))
            return terminator.should_terminate(self._study)

    def _add(
        self,
        point: Mapping[str, Scalar],
        values: Values,
        state: TrialState,
        attributes: dict[str, Any] | None = None,
    ) -> int:
        """Add a trial that was not asked here; return its number in the study."""
        trial = optuna.trial.create_trial(
            state=state,
            values=list(values) if values is not None else None,
            params=self._codes.encode(point),
            distributions={name: self._codes.distributions[name] for name in point},
            system_attrs=attributes,
        )
        self._study.add_trial(trial)
        self._seen.add(point_key(point))
        return len(self._study.get_trials(deepcopy=False)) - 1

    def _sampler(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        settings = self._plan.search
        if self._foreign is not None:
            return self._foreign
        ask = Ask(
            self._study_seed,
            self._seed(number, attempt),
            number,
            attempt,
            self._codes.distributions,
            self._codes.conditions,
            self._is_constrained,
        )
        params = dict(settings.sampler_params)
        if isinstance(params.get("fixed_params"), dict):
            params["fixed_params"] = self._codes.fixed(params["fixed_params"])
        sampler = make_sampler(self.choice.sampler, params, ask, settings.n_startup_trials)
        if self._is_foreign:
            self._foreign = sampler
        if isinstance(sampler, TPESampler) and hasattr(sampler, "_search_space"):
            # What all trials have in common; a new sampler would find it out anew, from all of them.
            self._common = sampler._search_space = self._common or sampler._search_space
        return sampler

    def _note(self, seconds: float | None) -> None:
        if seconds is not None:
            self._seconds.append(seconds)

    def _seed(self, number: int, attempt: int) -> int:
        return derive_seed("ask", self._plan.search.seed, number, attempt)


def _nothing() -> None:
    """Do nothing."""
