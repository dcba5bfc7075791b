"""One study while a driver works on it: what is known of it, which trial comes next, which are pruned."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from parsl_optuna.core.counted import counted
from parsl_optuna.core.ended import Ended
from parsl_optuna.core.objective import Scoring
from parsl_optuna.core.records import AFTERWARDS, Asked, Outcome, ReferenceValue, Trial
from parsl_optuna.core.space import Scalar
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.plan.plans import Baseline, RunPlan, StudyPlan
from parsl_optuna.study.pruning import Watch
from parsl_optuna.study.search import confirm
from parsl_optuna.study.search.choice import Choice
from parsl_optuna.study.search.front import observed_front
from parsl_optuna.study.search.observed import Observed, Standing, key_of, point_of
from parsl_optuna.study.search.points import FixedPoints, SearchPoints
from parsl_optuna.study.search.pruners import make_pruner
from parsl_optuna.study.search.search import Search
from parsl_optuna.study.state import StudyState
from parsl_optuna.study.stored import fixed_trials, outcome_of, scan
from parsl_optuna.worker.classify import judged


class ActiveStudy:
    """A study, rebuilt from what is on disk.

    Args:
        plan: The invocation.
        study: The study.
        store: Where its trials are kept; it is read, and only here.
        trusted: References by problem.
        waits_for: Problems whose reference is yet to come. Trials start meanwhile, as many as would without a
            result of any; they are scored when it is there.
    """

    def __init__(
        self,
        plan: RunPlan,
        study: StudyPlan,
        store: ArtifactStore,
        trusted: Mapping[str, ReferenceValue],
        waits_for: Collection[str] = (),
    ) -> None:
        self._plan, self.study, self._scoring = plan, study, plan.scoring.to_json()
        self.state = StudyState(study, plan.scoring, plan.task.comparison, waits_for)
        for pid, reference in trusted.items():
            self.state.reference_ready(pid, reference)
        self.watch = self._watch(store)
        self._points = self._fixed(store) if study.points is not None else self._search(store)

    # What comes next.

    def next(self) -> Trial | None:
        """Return a trial to start; None while there is none."""
        state = self.state
        if len(state.running) + len(state.waiting) >= self.study.batch_size:
            return None
        return self._points.next(state) or self._confirmation()

    def ask_ahead(self) -> bool:
        """Ask for a point before there is room for it; return whether one was asked."""
        if self.state.is_waiting_for_reference or self.state.stop_reason is not None:
            return False
        return self._points.ask_ahead(self.state)

    def start(self, trial: Trial) -> None:
        """Count a trial as running."""
        self.state.started(trial, self._points.key(trial))

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """Take a trial's outcome, also of one that was found on disk when it was to start."""
        outcome = judged(self._plan.task, trial.asked, outcome, self._scoring)
        self.state.asked(trial, self._points.key(trial))
        self.state.ended(trial, outcome)
        if self.watch is not None and trial.asked.by not in AFTERWARDS:
            self.watch.end(trial.manifest, outcome)
        search = self.search if self.study.stop.terminator and self.stopped is None else None
        if search is not None and self.state.best is not None and search.should_terminate():
            self.state.stopped(
                f"Optuna's terminator sees no gain left after {counted(len(self.ended), 'trial')}"
            )

    @property
    def stopped(self) -> str | None:
        """Why nothing more is asked for; None while something is."""
        return self.state.stop_reason

    @property
    def is_searching(self) -> bool:
        """Whether trials other than confirmations run or are to come."""
        if self.state.n_searching:
            return True
        if self.stopped is not None:
            return False
        return self._points.has_pending or len(self.state.points) < self.study.max_trials

    @property
    def shortest_left_sec(self) -> float:
        """How long the study takes at least from here: the longest should go first."""
        left = self.study.max_trials * self.study.n_runs - len(self.state.runs)
        return max(left, 0) * self.state.mean_sec / self.study.batch_size

    # What came out.

    @property
    def ended(self) -> dict[str, Ended]:
        """Its points by the id of their first trial."""
        self.state.rank()
        return self.state.points

    @property
    def runs(self) -> dict[str, Ended]:
        """Every scored trial by id; with replicates or several problems, several per point."""
        return self.state.runs

    @property
    def leading(self) -> str:
        """What people call its first objective; a point of ``across: rank`` has a rank in its place."""
        name = self.state.scoring.leading
        return f"rank of {name}" if self.study.replication.across == "rank" else name

    @property
    def search(self) -> Search | None:
        """The search, which was told everything; None of a study with fixed points."""
        points = self._points
        return points.up_to_date(self.state) if isinstance(points, SearchPoints) else None

    @property
    def choice(self) -> Choice | None:
        """The sampler that ``auto`` takes now, and why; None where one is configured."""
        return self.sampler if self.study.search.sampler == "auto" else None

    @property
    def sampler(self) -> Choice | None:
        """The sampler that proposes now, and why; None of a study with fixed points."""
        points = self._points
        return points.search.choice if isinstance(points, SearchPoints) else None

    def best(self) -> Ended | None:
        """Return the point of choice; None when none succeeded.

        While the search goes on it is the one of the best first objective; then fresh replicates of the
        leading points may choose another one.
        """
        chosen = self._recommended()
        return self.state.best if chosen is None else chosen.chosen

    @property
    def infeasible(self) -> list[Ended]:
        """Successful points that miss a constraint."""
        return [one for one in self.successes if one.violation]

    @property
    def successes(self) -> list[Ended]:
        """Points with all objectives, by number."""
        return self.state.successes

    def front(self) -> list[Observed]:
        """Return the Pareto front: the points that none beats in all objectives, feasible if any are.

        Members that were run again count by the mean of all observations.
        """
        chosen = self._recommended()
        known = () if chosen is None else chosen.front
        return list(known or observed_front(self.study, self.successes, {})[0])

    def confirmations(self) -> list[float]:
        """Return the first objective of the point of choice on its further replicates that ran everywhere."""
        values = (next(iter(run.objectives.values())) for run in self.fresh if run.values is not None)
        return [value for value in values if value is not None]

    @property
    def fresh(self) -> tuple[Ended, ...]:
        """The further replicates of the point of choice that ran everywhere, each pooled over problems."""
        chosen = self._recommended()
        return () if chosen is None else chosen.fresh

    def varied_of(self, hyperparams: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return those of a trial's hyperparameters that vary and have an effect on it."""
        irrelevant = self._plan.task.irrelevant
        without = frozenset() if irrelevant is None else irrelevant(self.study.method, hyperparams)
        found = self.study.varied_of(hyperparams)
        return {name: value for name, value in found.items() if name not in without}

    # Building it.

    def _watch(self, store: ArtifactStore) -> Watch | None:
        settings = self.study.search
        if settings.pruner is None:
            return None
        pruner = make_pruner(settings.pruner, settings.pruner_params, f"{self.study.pid}:{self.study.method}")
        return Watch(pruner, store, self._first_objective)

    def _fixed(self, store: ArtifactStore) -> FixedPoints:
        found, sources = fixed_trials(self._plan, self.study, store)
        points = FixedPoints(self._plan, self.study, sources)
        for trial in found.values():
            outcome = outcome_of(self._plan, self.study, store, trial)
            if outcome is not None:
                self._restored(points, trial, outcome)
        return points

    def _search(self, store: ArtifactStore) -> SearchPoints:
        points, study = SearchPoints(self._plan, self.study), self.study
        whole, shorter = scan(self._plan, study, store)
        for stored in whole:
            if len(stored.trials) == study.n_runs or points.n_known < study.max_trials:
                outcomes = {
                    trial.manifest.trial_id: outcome
                    for trial in stored.trials.values()
                    if (outcome := outcome_of(self._plan, study, store, trial)) is not None
                }
                points.restore(stored, outcomes, self.state)
                if self.watch is not None:
                    for trial in stored.trials.values():
                        if trial.manifest.trial_id in outcomes:
                            self.watch.end(trial.manifest, outcomes[trial.manifest.trial_id])
        for stored in shorter:
            if points.n_known < study.max_trials:
                points.extend(stored)
        return points

    def _restored(self, points: FixedPoints, trial: Trial, outcome: Outcome) -> None:
        self.state.asked(trial, points.key(trial))
        self.state.ended(trial, outcome)
        if self.watch is not None:
            self.watch.end(trial.manifest, outcome)

    # Confirmations.

    def _confirmation(self) -> Trial | None:
        """Return a leading point on a further replicate, once nothing else runs."""
        chosen = None if self.state.n_searching else self._recommended()
        for point, seed in () if chosen is None else chosen.missing:
            for slot in confirm.slots_of(self.study, seed):
                at = point_of(self.study, point.manifest)
                manifest = self._plan.manifest_at(self.study, at, slot)
                begun = manifest.trial_id in self.state.running or manifest.trial_id in self.state.confirmed
                if not begun:
                    return Trial(manifest, Asked(None, "", "confirm"))
        return None if chosen is None else self._baseline()

    def _baseline(self) -> Trial | None:
        """Return a trial of a baseline, once all confirmations have begun."""
        for baseline in self.study.baselines:
            for manifest in self._plan.baselines(self.study, baseline):
                state, trial_id = self.state, manifest.trial_id
                if not any(trial_id in some for some in (state.running, state.confirmed, state.baselines)):
                    return Trial(manifest, Asked(None, "", "baseline"))
        return None

    def baseline_runs(self, baseline: Baseline) -> list[Ended]:
        """Return the trials of a baseline that have ended; a confirmed point may be the same."""
        known = {**self.state.confirmed, **self.state.baselines}
        ids = [manifest.trial_id for manifest in self._plan.baselines(self.study, baseline)]
        return [known[trial_id] for trial_id in ids if trial_id in known]

    def _recommended(self) -> confirm.Recommendation | None:
        self.state.rank()
        best = self.state.best
        if best is None or self.study.points is not None:
            return None
        if not self.state.confirmed and self.is_searching:  # what is asked after every trial must be cheap
            return confirm.Recommendation(best, (), ())
        return confirm.recommend(
            self.study, self.state.contenders, best, self.state.confirmed.values(), self._standing
        )

    @property
    def _standing(self) -> Standing | None:
        """What a fresh replicate is compared by where points are compared by ranks."""
        ranks = self.state.ranks
        if self.study.replication.across != "rank" or ranks is None:
            return None
        ids = {key_of(self.study, one.manifest): trial_id for trial_id, one in self.state.points.items()}
        return lambda key, runs: ranks.of(ids[key], runs) if key in ids else None

    def _first_objective(self, metrics: Mapping[str, Any]) -> float | None:
        """Return what the search minimises first, of reported metrics; a pruner goes with one problem."""
        scoring, trusted = self.state.scoring, self.state.trusted.get(self.study.instances[0].pid)
        first = Scoring(scoring.first, scoring.names[:1], scoring.goals)
        values = first.minimised(first.scores(metrics, self._plan.task.comparison, trusted))
        return None if values is None else values[0]
