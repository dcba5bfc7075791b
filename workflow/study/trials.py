"""One study as a state: which trials ended, which run, what comes next. Reads the store, writes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workflow.objective import evaluate
from workflow.records import Asked, Manifest, Outcome, State, Trusted
from workflow.space import Scalar
from workflow.store.store import ArtifactStore
from workflow.study.ended import Ended, age_of, pooled
from workflow.study.plan import RunPlan, StudyPlan
from workflow.study.pruners import make_pruner
from workflow.study.search import Search, pareto_front
from workflow.study.watch import Watch

_MODEL_ATTEMPTS = 10
_RANDOM_ATTEMPTS = 50
_RECENT = 32


@dataclass(frozen=True)
class Next:
    """A trial to start."""

    manifest: Manifest
    number: int | None
    by: str
    attempt: int = 0


class Trials:
    """The trials of one study.

    ``ended`` holds its points; ``runs`` every single run, which with replicates are several per point;
    ``leading`` is what people call its first objective.

    Args:
        plan: The run.
        study: The study.
        store: Where trials are kept.
        trusted: The problem's reference; None without one.
    """

    def __init__(
        self, plan: RunPlan, study: StudyPlan, store: ArtifactStore, trusted: Trusted | None
    ) -> None:
        self.study, self.trusted = study, trusted
        self.leading = plan.objective.metric or plan.objectives[0]
        self._plan = plan
        self.ended: dict[str, Ended] = {}
        self.runs: dict[str, Ended] = {}
        self._replicates: dict[int, list[Ended]] = {}
        self.confirmed: dict[str, Ended] = {}
        self.running: dict[str, Next] = {}
        self.stopped: str | None = None
        self._pending: list[Next] = []
        self._points = iter(study.points or ())
        self._best: Ended | None = None
        self._since_best = self.n_failed = 0
        self._took: deque[float] = deque(maxlen=_RECENT)
        self._known: dict[str, Mapping[str, Scalar]] = {}
        self._next_number = 0
        self.search = None
        self.watch = None
        if study.pruner is not None:
            pruner = make_pruner(study.pruner, study.pruner_params, f"{study.pid}:{study.method}")
            self.watch = Watch(pruner, store, lambda metrics: next(iter(self._objectives(metrics).values())))
        if study.points is None:
            self.search = Search(study, len(plan.objectives))
            for point, value in study.learned if len(plan.objectives) == 1 else ():
                self.search.learn(point, value)
            self._fold(store)
            self._apply_rules()

    # What comes next.

    def next(self) -> Next | None:
        """Return a trial to start now, or None while there is none; it counts as running."""
        if len(self.running) >= self.study.batch_size:
            return None
        proposal = self._propose()
        if proposal is not None:
            self.running[proposal.manifest.trial_id] = proposal
        return proposal

    def end(self, trial_id: str, asked: Asked, outcome: Outcome) -> Ended:
        """Take a running trial's outcome."""
        started = self.running.pop(trial_id)
        self._took.append(outcome.runtime_sec + outcome.prepare_sec)
        ended = self._judge(started.manifest, asked, outcome)
        if self.watch is not None and started.by != "confirm":
            self.watch.end(started.manifest, outcome)
        if started.by == "confirm":
            self.confirmed[trial_id] = ended
            return ended
        self.runs[trial_id] = ended
        if self.search is None or started.number is None:
            self._count(ended)
            self._apply_rules()
            return ended
        runs = self._replicates.setdefault(started.number, [])
        runs.append(ended)
        if len(runs) < self.study.replicates:
            return ended
        point = pooled(runs, self.study.aggregate)
        self._count(point)
        self.search.tell(started.number, point.values, point.pruned_at)
        limit = self.study.stop_after_failures
        if limit and len(self.ended) >= limit and self._best is None:
            self.stopped = f"its first {len(self.ended)} trials all failed, the last one: {outcome.reason}"
        self._apply_rules()
        return ended

    def has_another_chance(self, outcome: Outcome) -> bool:
        """Whether a stored trial is to run again: a lost one, or one given up by a pruner that is gone."""
        return outcome.state is State.LOST or (outcome.state is State.PRUNED and self.watch is None)

    @property
    def is_searching(self) -> bool:
        """Whether trials of the search itself are still to come or running."""
        if any(trial.by != "confirm" for trial in self.running.values()):
            return True
        if self.stopped is not None:
            return False
        return bool(self._pending) or len(self.ended) < self.study.max_trials

    @property
    def is_done(self) -> bool:
        """Whether nothing runs and nothing is to come."""
        return not self.running and not self.is_searching and not self._confirmations()

    @property
    def longest_sec(self) -> float | None:
        """How long the longest of the trials took that ended last; None before the first one ends."""
        return max(self._took, default=None)

    # What came out.

    @property
    def successes(self) -> list[Ended]:
        """Trials with all objectives, by trial number."""
        return sorted((e for e in self.ended.values() if e.values), key=lambda e: e.age)

    def best(self) -> Ended | None:
        """Return the trial with the least first objective; None when none succeeded."""
        return self._best

    def front(self) -> list[Ended]:
        """Return the Pareto front, the trials that none beats in all objectives."""
        candidates = self.successes
        return [candidates[i] for i in pareto_front([e.values or () for e in candidates])]

    # Inside.

    def _count(self, ended: Ended) -> None:
        """Add an ended trial; what is asked after every trial must not cost a pass over all of them."""
        self.ended[ended.manifest.trial_id] = ended
        self.n_failed += ended.values is None and not ended.is_pruned
        best = self._best
        if ended.values is not None and (best is None or _rank(ended) < _rank(best)):
            self._best = best = ended
            self._since_best = sum(entry.age > best.age for entry in self.ended.values())
        elif best is not None and ended.age > best.age:
            self._since_best += 1

    def _apply_rules(self) -> None:
        """Stop the study where one of its own rules says so."""
        best, since = self._best, self._since_best
        if self.stopped is not None or best is None or best.values is None:
            return
        study = self.study
        if study.target is not None and best.values[0] <= study.target:
            self.stopped = f"reached its target: {best.values[0]:.4g} is at most {study.target:.4g}"
        elif study.patience is not None and since >= study.patience:
            self.stopped = f"no improvement in its last {since} trials"
        elif study.terminator and self.search is not None and self.search.should_terminate():
            self.stopped = f"Optuna's terminator sees nothing left to gain after {len(self.ended)} trials"

    def _fold(self, store: ArtifactStore) -> None:
        """Rebuild the search from what is on disk."""
        assert self.search is not None
        for replicates in self._groups(store):
            manifest, asked = replicates[0]
            point = self.study.point_of(manifest.hyperparams)
            assert point is not None
            number = asked.number
            if number is None or number < self._next_number:
                number = self._next_number
            self._next_number = number + 1
            self._known[manifest.trial_id] = manifest.hyperparams
            runs = self._replicates[number] = self._read(replicates, number, store)
            if len(runs) < self.study.replicates:
                self.search.restore(number, point, None, asked, ended=False)
                continue
            ended = pooled(runs, self.study.aggregate)
            self._count(ended)
            self.search.restore(number, point, ended.values, asked, ended=True, pruned_at=ended.pruned_at)

    def _groups(self, store: ArtifactStore) -> list[dict[int, tuple[Manifest, Asked]]]:
        """Return the stored replicates of every point, by seed, in the order of the first ones."""
        groups: dict[str, dict[int, tuple[Manifest, Asked]]] = {}
        for manifest, asked in self._members(store):
            first = manifest
            if manifest.seed:
                first = self._plan.manifest(self.study, manifest.hyperparams, 0)
            groups.setdefault(first.trial_id, {})[manifest.seed] = (manifest, asked)
        whole = [group for group in groups.values() if 0 in group]
        return sorted(whole, key=lambda group: age_of(*group[0]))

    def _read(
        self, replicates: Mapping[int, tuple[Manifest, Asked]], number: int, store: ArtifactStore
    ) -> list[Ended]:
        """Return the replicates of a point that have ended; the others are pending."""
        runs = []
        first, asked_first = replicates[0]
        for seed in range(self.study.replicates):
            manifest = self._plan.manifest(self.study, first.hyperparams, seed)
            _, asked = replicates.get(seed, (manifest, asked_first))
            outcome = store.outcome(manifest) if seed in replicates else None
            if outcome is None or self.has_another_chance(outcome):
                self._pending.append(Next(manifest, number, asked_first.by, asked_first.attempt))
                continue
            runs.append(self._judge(manifest, asked, outcome))
            if self.watch is not None:
                self.watch.end(manifest, outcome)
            self.runs[manifest.trial_id] = runs[-1]
        return runs

    def _members(self, store: ArtifactStore) -> Iterator[tuple[Manifest, Asked]]:
        """Yield the stored trials that this study could have asked for, whoever did."""
        for manifest, asked in store.manifests(self.study.pid, self.study.method):
            mine = (
                manifest.role == "trial"
                and (manifest.task, manifest.task_version) == (self._plan.task.name, self._plan.task.version)
                and manifest.seed < self.study.replicates
                and manifest.budget_sec == self.study.budget_sec
            )
            if mine and self.study.point_of(manifest.hyperparams) is not None:
                yield manifest, asked

    def _propose(self) -> Next | None:
        if self._pending:
            return self._pending.pop(0)
        searching = sum(trial.by != "confirm" for trial in self.running.values())
        begun = len(self.ended) + searching if self.search is None else len(self._known)
        if self.stopped is None and begun < self.study.max_trials:
            return self._fixed_point() if self.search is None else self._search_point(self.search)
        if searching:
            return None
        seeds = self._confirmations()
        best = self.best()
        if not seeds or best is None:
            return None
        manifest = self._plan.manifest(self.study, best.manifest.hyperparams, seeds[0])
        return Next(manifest, None, "confirm")

    def _fixed_point(self) -> Next | None:
        for point in self._points:
            manifest = self._plan.manifest(self.study, point.hyperparams, point.seed)
            if manifest.trial_id not in self.ended and manifest.trial_id not in self.running:
                return Next(manifest, None, "fixed")
        return None

    def _search_point(self, search: Search) -> Next | None:
        """Ask for a point that is neither known nor running, a bounded number of times."""
        number = self._next_number
        guess = self._unused_guess()
        if guess is not None:
            proposal = self._fresh(search.suggest(number, guess), number, "enqueue")
            if proposal is not None:
                return proposal
            search.tell(number, None)
        if len(self._known) < self.study.space.size():
            for attempt in range(_MODEL_ATTEMPTS + _RANDOM_ATTEMPTS):
                at_random = attempt >= _MODEL_ATTEMPTS
                point = search.ask(number, attempt, at_random=at_random)
                proposal = self._fresh(point, number, "search", attempt)
                if proposal is not None:
                    return proposal
                search.tell(number, None)
            point = search.leftover(number)
            if point is not None:
                return self._fresh(point, number, "search", _MODEL_ATTEMPTS + _RANDOM_ATTEMPTS)
        self.stopped = f"all {len(self._known)} points of its search space are known"
        return None

    def _fresh(self, point: Mapping[str, Scalar], number: int, by: str, attempt: int = 0) -> Next | None:
        hyperparams = self.study.hyperparams(point)
        manifest = self._plan.manifest(self.study, hyperparams, 0)
        if manifest.trial_id in self._known:
            return None
        self._known[manifest.trial_id] = hyperparams
        self._next_number = number + 1
        self._pending += [
            Next(self._plan.manifest(self.study, hyperparams, seed), number, by, attempt)
            for seed in range(1, self.study.replicates)
        ]
        return Next(manifest, number, by, attempt)

    def _unused_guess(self) -> Mapping[str, Scalar] | None:
        for guess in self.study.enqueue:
            if not any(guess.items() <= known.items() for known in self._known.values()):
                return guess
        return None

    def _confirmations(self) -> list[int]:
        """List the fresh seeds on which the best point is still to be run."""
        best = self.best()
        if best is None or self.search is None:
            return []
        done = {
            entry.manifest.seed
            for entry in self.confirmed.values()
            if entry.manifest.hyperparams == best.manifest.hyperparams
        }
        done |= {trial.manifest.seed for trial in self.running.values()}
        fresh = range(self.study.replicates, self.study.replicates + self.study.confirm)
        return [seed for seed in fresh if seed not in done]

    def _judge(self, manifest: Manifest, asked: Asked, outcome: Outcome) -> Ended:
        objectives = self._objectives({**outcome.metrics, "runtime_sec": outcome.runtime_sec})
        return Ended(manifest, asked, outcome, objectives)

    def _objectives(self, metrics: Mapping[str, Any]) -> dict[str, float | None]:
        reference = self._plan.task.reference
        comparison = reference.comparison if reference else None
        return evaluate(self._plan.objective, self._plan.objectives, metrics, comparison, self.trusted)


def _rank(ended: Ended) -> tuple[tuple[float, ...], tuple[float, str, str]]:
    return ended.values or (), ended.age
