"""Which trial of a study comes next: one of a list, or what a search proposes, and none twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from parsl_optuna.core.objective import DIAGNOSIS
from parsl_optuna.core.records import Asked, Manifest, Outcome, Trial
from parsl_optuna.core.space import Scalar
from parsl_optuna.study.plan.plans import FIRST, RunPlan, StudyPlan
from parsl_optuna.study.search.choice import ask_sec
from parsl_optuna.study.search.ladder import promoted
from parsl_optuna.study.search.search import Search
from parsl_optuna.study.state import Key, StudyState
from parsl_optuna.study.stored import Stored

_MODEL_ATTEMPTS = 10
_RANDOM_ATTEMPTS = 50
"""Proposals known already before the next ones are drawn at random, and before the space is listed."""

_STALENESS = 4
"""At most one point is ready for so many trials in flight, whose results it does not know either."""


class FixedPoints:
    """The points of a list, in its order.

    Args:
        plan: The invocation.
        study: The study.
        sources: Shorter trials that some of them are extended from, by id.
    """

    def __init__(self, plan: RunPlan, study: StudyPlan, sources: Mapping[str, str]) -> None:
        self._manifests = iter([plan.fixed(study, point) for point in study.points or ()])
        self._sources = sources

    has_pending = False

    def key(self, trial: Trial) -> Key:
        """Return what the trials of a point share: here each is one of its own."""
        return trial.manifest.trial_id

    def next(self, state: StudyState) -> Trial | None:
        """Return a trial to start; None while there is none."""
        if state.stop_reason is not None:
            return None
        for manifest in self._manifests:
            if not state.knows(manifest.trial_id):
                return Trial(manifest, Asked(None, "", "fixed", extends=self._sources.get(manifest.trial_id)))
        return None

    def ask_ahead(self, state: StudyState) -> bool:
        """Do nothing: the next point costs nothing."""
        del state
        return False


class SearchPoints:
    """The points of a search.

    Args:
        plan: The invocation.
        study: The study.

    Attributes:
        search: Asks for points. It is told what the state knows before it is asked.
    """

    def __init__(self, plan: RunPlan, study: StudyPlan) -> None:
        self._plan, self._study = plan, study
        self.search = self._new_search()
        self._pending: deque[Trial] = deque()
        self._ahead: deque[Trial] = deque()
        self._next_number, self._n_told = 0, 0
        self._known: dict[str, Mapping[str, Scalar]] = {}
        self._numbers: dict[str, int] = {}
        self._by_number: dict[int, Mapping[str, Scalar]] = {}
        scoring = plan.scoring
        # A table does not say how far a diagnosis is from ok: whoever gives one means its points.
        diagnosis = {DIAGNOSIS: 0.0} if self._is_diagnosed else {}
        for point, value, violations in study.search.learned:
            (known,) = scoring.minimised({scoring.names[0]: value}) or (value,)
            self.search.learn(point, known, {**diagnosis, **violations})

    @property
    def n_known(self) -> int:
        """How many points were proposed, or found on disk."""
        return len(self._known)

    @property
    def has_pending(self) -> bool:
        """Whether trials of known points are still to start."""
        return bool(self._pending)

    def key(self, trial: Trial) -> Key:
        """Return the number of a trial's point."""
        return self._numbers.get(trial.manifest.trial_id, trial.manifest.trial_id)

    # From disk.

    def restore(self, stored: Stored, outcomes: Mapping[str, Outcome], state: StudyState) -> None:
        """Take a point that is on disk, before anything is asked.

        Args:
            stored: The point.
            outcomes: Outcomes of its trials by id; a trial without one is to run.
            state: What the trials are added to.
        """
        first = stored.trials[FIRST]
        number = max(self._next_number, -1 if first.asked.number is None else first.asked.number)
        fresh = self._note(number, stored.point, first.asked, self._manifests(stored.point))
        for slot, new in zip(self._study.slots(), fresh, strict=True):
            trial = stored.trials.get(slot, new)
            if slot in stored.trials:
                state.asked(trial, number)
            outcome = outcomes.get(trial.manifest.trial_id)
            if outcome is None:
                self._pending.append(trial)
            else:
                state.ended(trial, outcome)
        is_whole = state.is_completed(number)
        if is_whole and self._study.replication.across != "rank":
            point = state.point(number)
            self.search.restore(
                number,
                stored.point,
                point.values,
                first.asked,
                ended=True,
                pruned_at=point.pruned_at,
                seconds=point.outcome.runtime_sec,
                violations=point.violations,
            )
            self._n_told = len(state.completed)
        elif not is_whole:
            self.search.restore(number, stored.point, None, first.asked, ended=False)

    def extend(self, stored: Stored) -> None:
        """Have a point run on that has run with less."""
        manifests = self._manifests(stored.point)
        if manifests[0].trial_id in self._known:
            return
        number = self._next_number
        sources = [stored.trials.get(slot) for slot in self._study.slots()]
        self._pending += self._extended(
            stored.point, number, "extend", [None if one is None else one.manifest for one in sources]
        )
        self.search.restore(number, stored.point, None, Asked(number, "", "extend"), ended=False)

    # What comes next.

    def next(self, state: StudyState) -> Trial | None:
        """Return a trial to start; None while there is none.

        What was asked ahead is dropped if the study has stopped since.
        """
        may_ask = state.stop_reason is None
        if self._ahead and may_ask:
            return self._ahead.popleft()
        while self._ahead:
            self._drop(self._ahead.popleft())
        if self._pending:
            return self._pending.popleft()
        if not may_ask or self.n_known >= self._study.max_trials:
            return None
        trial = self._ask(state)
        if trial is None:
            state.stopped(
                f"all {self.n_known} points of its search space are known"
                if self.n_known != 1
                else "the one point of its search space is known"
            )
        return trial

    def ask_ahead(self, state: StudyState) -> bool:
        """Ask for a point before there is room for it, so that no worker waits; return whether one was asked.

        It does not know the results that come until it starts; with one trial in flight, none is asked. As
        many are ready as may end within the time of a proposal, but no more than a quarter of those in
        flight: what a point does not know is bounded.
        """
        study = self._study
        left = min(study.max_trials, study.space.size()) - self.n_known
        if study.batch_size == 1 or left <= 0 or self._pending:
            return False
        depth = 1
        if self._ahead:
            together = state.most_together(ask_sec(study, self.n_known))
            depth = min(together, study.batch_size // _STALENESS)
        if len(self._ahead) >= depth:
            return False
        trial = self._ask(state)
        if trial is not None:
            self._ahead.append(trial)
        return trial is not None

    def up_to_date(self, state: StudyState) -> Search:
        """Return the search when it was told everything."""
        if self._n_told < len(state.completed):
            if self._study.replication.across == "rank":
                self._tell_anew(state)
            else:
                for key in state.completed[self._n_told :]:
                    point = state.point(key)
                    self.search.tell(
                        int(key), point.values, point.pruned_at, point.outcome.runtime_sec, point.violations
                    )
            self._n_told = len(state.completed)
        return self.search

    def _ask(self, state: StudyState) -> Trial | None:
        """Ask for a point that is not known, a bounded number of times; None where none is left."""
        search, number = self.up_to_date(state), self._next_number
        longer = self._promoted(state)
        if longer is not None:
            return longer
        guess = self._unused_guess()
        if guess is not None:
            trial = self._fresh(self._begun(search.suggest(number, guess), number), number, "enqueue")
            if trial is not None:
                return trial
            search.refuse(number)
        if self.n_known >= self._study.space.size():
            return None
        for attempt in range(_MODEL_ATTEMPTS + _RANDOM_ATTEMPTS):
            point = search.ask(number, attempt, at_random=attempt >= _MODEL_ATTEMPTS)
            trial = self._fresh(self._begun(point, number), number, "search", attempt)
            if trial is not None:
                return trial
            search.refuse(number)
        point = search.leftover(number)
        if point is None:
            return None
        return self._fresh(self._begun(point, number), number, "search", _MODEL_ATTEMPTS + _RANDOM_ATTEMPTS)

    def _promoted(self, state: StudyState) -> Trial | None:
        """Return the first trial of the point that runs on, longer than before; None if none does."""
        fidelity = self._study.search.fidelity
        if fidelity is None:
            return None
        ended = [(self._known[trial_id], one) for trial_id, one in state.points.items()]
        source = promoted(fidelity, ended, self._known.values())
        if source is None:
            return None
        point = fidelity.at(source, fidelity.rung_of(source) + 1)
        number = self._next_number
        self.search.suggest(number, point)
        goes_on = self._plan.task.extends.get(self._study.method) == fidelity.parameter
        sources = self._manifests(source) if goes_on else [None] * self._study.n_runs
        first, *others = self._extended(point, number, "promote", sources)
        self._pending += others
        return first

    def _begun(self, point: Mapping[str, Scalar], number: int) -> Mapping[str, Scalar]:
        """Return a proposal on the lowest rung, where every point begins."""
        fidelity = self._study.search.fidelity
        if fidelity is None or not fidelity.rung_of(point):
            return point
        self.search.refuse(number)
        return self.search.suggest(number, fidelity.at(point, 0))

    def _fresh(self, point: Mapping[str, Scalar], number: int, by: str, attempt: int = 0) -> Trial | None:
        """Return the first trial of a point, the others pending; None if the point is known."""
        manifests = self._manifests(point)
        if manifests[0].trial_id in self._known:
            return None
        first, *others = self._note(number, point, Asked(number, "", by, attempt), manifests)
        self._pending += others
        return first

    def _manifests(self, point: Mapping[str, Scalar]) -> list[Manifest]:
        return [self._plan.manifest_at(self._study, point, slot) for slot in self._study.slots()]

    def _note(
        self, number: int, point: Mapping[str, Scalar], asked: Asked, manifests: list[Manifest]
    ) -> list[Trial]:
        """Count a point as known; return its trials as they would be asked for now."""
        self._known[manifests[0].trial_id] = self._by_number[number] = dict(point)
        self._numbers |= dict.fromkeys((manifest.trial_id for manifest in manifests), number)
        self._next_number = number + 1
        return [Trial(manifest, Asked(number, "", asked.by, asked.attempt)) for manifest in manifests]

    def _extended(
        self, point: Mapping[str, Scalar], number: int, by: str, sources: Sequence[Manifest | None]
    ) -> list[Trial]:
        """Count a point as known; return its trials, each of which goes on from its source."""
        fresh = self._note(number, point, Asked(number, "", by), self._manifests(point))
        return [
            Trial(
                trial.manifest,
                replace(trial.asked, extends=None if source is None else source.trial_id),
            )
            for trial, source in zip(fresh, sources, strict=True)
        ]

    def _drop(self, ahead: Trial) -> None:
        del self._known[ahead.manifest.trial_id]
        self._pending = deque(trial for trial in self._pending if trial.asked.number != ahead.asked.number)

    def _tell_anew(self, state: StudyState) -> None:
        """Make the search anew: where points are ranked, each one moves the values of all others."""
        state.rank()
        self.search = self._new_search()
        completed = set(state.completed)
        firsts = {self._numbers[trial_id]: ended for trial_id, ended in state.points.items()}
        for number, point in self._by_number.items():
            ended = firsts[number] if number in completed else None
            asked = Asked(number, "", "search")
            violations = {} if ended is None else ended.violations
            self.search.restore(
                number,
                point,
                None if ended is None else ended.values,
                asked,
                ended=ended is not None,
                seconds=None if ended is None else ended.outcome.runtime_sec,
                violations=violations,
            )

    @property
    def _is_diagnosed(self) -> bool:
        comparison = self._plan.task.comparison
        return comparison is not None and comparison.violation is not None

    def _new_search(self) -> Search:
        scoring = self._plan.scoring
        is_constrained = self._is_diagnosed or bool(scoring.constraints)
        return Search(self._study, len(scoring.names), is_constrained=is_constrained)

    def _unused_guess(self) -> Mapping[str, Scalar] | None:
        for guess in self._study.search.enqueue:
            if not any(guess.items() <= known.items() for known in self._known.values()):
                return guess
        return None
