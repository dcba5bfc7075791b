"""One study as a state: which trials ended, which run, what comes next. Reads the store, writes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

from parsl_optuna.core.ended import Ended, score
from parsl_optuna.core.objective import Scoring
from parsl_optuna.core.records import Asked, Manifest, Outcome, ReferenceValue, State, Trial
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.plan.plans import RunPlan, StudyPlan
from parsl_optuna.study.pooling import as_point, by_site, pooled, ranked, stop_reason
from parsl_optuna.study.pruning import Watch
from parsl_optuna.study.search import confirm
from parsl_optuna.study.search.proposals import Proposals
from parsl_optuna.study.search.pruners import make_pruner
from parsl_optuna.study.search.search import Search, pareto_front
from parsl_optuna.study.stored import FIRST, Next, Slot, Stored, run_of, scan, shorter_points, slot_of, slots

_RECENT = 32


class Trials:
    """The trials of one study.

    ``ended`` holds its points; ``runs`` every single run, which with replicates or several problems are
    several per point; ``leading`` is what people call its first objective.

    Args:
        plan: The run.
        study: The study.
        store: Where trials are kept.
        trusted: The references, by problem; empty without.
        early: Whether a reference is yet to come. Trials can then start, as many as would without a result
            of any, but none is judged: another `Trials` takes over when the reference is there.
    """

    def __init__(
        self,
        plan: RunPlan,
        study: StudyPlan,
        store: ArtifactStore,
        trusted: Mapping[str, ReferenceValue],
        *,
        early: bool = False,
    ) -> None:
        self.study, self.trusted, self.early = study, trusted, early
        self.leading = plan.scoring.leading
        self._plan = plan
        self.ended: dict[str, Ended] = {}
        self.runs: dict[str, Ended] = {}
        self._parts: dict[int, dict[Slot, Ended]] = {}
        self.confirmed: dict[str, Ended] = {}
        self.running: dict[str, Next] = {}
        self._unjudged = 0
        self.stopped: str | None = None
        self._points = iter(study.points or ())
        self._best: Ended | None = None
        self._since_best = self.n_failed = 0
        self._took: deque[float] = deque(maxlen=_RECENT)
        self._is_stale = False
        self.watch = None
        if study.search.pruner is not None:
            settings = study.search
            pruner = make_pruner(study.search.pruner, settings.pruner_params, f"{study.pid}:{study.method}")
            (site,) = study.sites
            judge = lambda metrics: self._first_objective(metrics, site.pid)  # noqa: E731
            self.watch = Watch(pruner, store, judge)
        self._sources = {} if study.points is None else shorter_points(plan, study, store)
        self._proposals = None if study.points is not None else Proposals(plan, study)
        if self._proposals is not None:
            self._fold(self._proposals, store)
            self._apply_rules()

    # What comes next.

    def next(self) -> Next | None:
        """Return a trial to start now, or None while there is none; it counts as running."""
        if len(self.running) + self._unjudged >= self.study.batch_size:
            return None
        proposal = self._propose()
        if proposal is not None:
            self.running[proposal.manifest.trial_id] = proposal
        return proposal

    def ask_ahead(self) -> None:
        """Ask for the next point before there is room for it, so that no worker waits for the search.

        It does not know the results that come until it starts; with one trial in flight, none is asked.
        """
        if self._proposals is None or self.early or self.stopped is not None:
            return
        if self.study.batch_size > 1 and self._proposals.n_known < self.study.max_trials:
            self._proposals.ask_ahead()

    def take_over(self, running: Mapping[str, Next]) -> None:
        """Take the trials that another state of the same study has started."""
        self.running |= {one: trial for one, trial in running.items() if one not in self.runs}
        if self._proposals is not None:
            self._proposals.forget(running)

    def end(self, trial_id: str, asked: Asked, outcome: Outcome) -> None:
        """Take a running trial's outcome."""
        started = self.running.pop(trial_id, None)
        if started is None:
            return  # its outcome was on disk when this state took over
        if self.early:
            self._took.append(outcome.runtime_sec + outcome.prepare_sec)
            self._unjudged += 1
            return
        ended = self._judge(started.manifest, asked, outcome)
        if self.watch is not None and started.by != "confirm":
            self.watch.end(started.manifest, outcome)
        if started.by == "confirm":
            self.confirmed[trial_id] = ended
            return
        self.runs[trial_id] = ended
        if self.search is None or started.number is None:
            self._count(ended)
            self._stop_after_failures(outcome)
            self._apply_rules()
            return
        runs = self._parts.setdefault(started.number, {})
        runs[slot_of(self.study, started.manifest)] = ended
        if len(runs) < self.study.n_runs:
            return
        point = as_point(self.study, runs)
        self._count(point)
        if self.study.replication.across != "rank":
            self.search.tell(started.number, point.values, point.pruned_at)
        self._stop_after_failures(outcome)
        self._apply_rules()

    def _stop_after_failures(self, outcome: Outcome) -> None:
        limit = self.study.stop.after_failures
        if limit and len(self.ended) >= limit and self._best is None:
            self.stopped = f"its first {len(self.ended)} trials all failed, the last one: {outcome.reason}"

    def has_another_chance(self, outcome: Outcome) -> bool:
        """Whether a stored trial is to run again: a lost one, or one pruned by a pruner that is gone."""
        is_stale = outcome.state is State.PRUNED and self.study.search.pruner is None
        return is_stale or outcome.state is State.LOST

    @property
    def is_searching(self) -> bool:
        """Whether trials of the search itself are still to come or running."""
        if any(trial.by != "confirm" for trial in self.running.values()):
            return True
        if self.stopped is not None:
            return False
        has_pending = self._proposals is not None and bool(self._proposals.pending)
        return has_pending or len(self.ended) < self.study.max_trials

    @property
    def is_done(self) -> bool:
        """Whether nothing runs and nothing is to come."""
        return not self.running and not self.is_searching and not self._confirmations()

    @property
    def longest_sec(self) -> float | None:
        """How long the longest of the trials took that ended last; None before the first one ends."""
        return max(self._took, default=None)

    @property
    def shortest_left_sec(self) -> float:
        """How long the study takes at least from here: so much that the longest should go first."""
        left = self.study.max_trials * self.study.n_runs - len(self.runs)
        mean = fmean(self._took) if self._took else self.study.budget_sec
        return max(left, 0) * mean / self.study.batch_size

    # What came out.

    @property
    def search(self) -> Search | None:
        """The search; None of a study with fixed points."""
        return None if self._proposals is None else self._proposals.search

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

    def confirmations(self) -> list[float]:
        """Return the first objective of the best point on every fresh seed on which it ran everywhere."""
        return confirm.values(self.study, self._runs_of_best())

    # Counting.

    def _count(self, ended: Ended) -> None:
        """Add an ended trial; what is asked after every trial must not cost a pass over all of them."""
        self.ended[ended.manifest.trial_id] = ended
        self.n_failed += ended.values is None and not ended.is_pruned
        if self.study.replication.across == "rank":
            self._is_stale = True
            return
        best = self._best
        if ended.values is not None and (best is None or _order(ended) < _order(best)):
            self._best = best = ended
            self._since_best = sum(entry.age > best.age for entry in self.ended.values())
        elif best is not None and ended.age > best.age:
            self._since_best += 1

    def _rank(self) -> None:
        """Value every point by its ranks among all, and make the search anew: each point moves the others."""
        if not self._is_stale or self._proposals is None:
            return
        self._is_stale = False
        study = self.study
        whole = {n: by_site(study, runs) for n, runs in self._parts.items() if len(runs) == study.n_runs}
        values = dict(zip(whole, ranked(list(whole.values())), strict=True))
        self._proposals.tell_anew(values, whole)
        for number, value in values.items():
            entry = pooled(whole[number], "mean")
            if value is not None:
                ranks = Scoring(names=entry.scoring.names)  # the least one is best, whatever they rank
                entry = replace(entry, objectives=ranks.shown(value), scoring=ranks)
            self.ended[entry.manifest.trial_id] = entry
        good = [entry for entry in self.ended.values() if entry.values is not None]
        self._best = best = min(good, key=_order, default=None)
        if best is not None:
            self._since_best = sum(entry.age > best.age for entry in self.ended.values())

    def _apply_rules(self) -> None:
        """Stop the study where one of its own rules says so."""
        self._rank()
        if self.stopped is None and self._best is not None and self._best.values is not None:
            self.stopped = stop_reason(self.study, self._best.values[0], self._since_best)
            search = self.search if self.study.stop.terminator else None
            if self.stopped is None and search is not None and search.should_terminate():
                self.stopped = f"Optuna's terminator sees no gain left after {len(self.ended)} trials"

    # From disk.

    def _fold(self, proposals: Proposals, store: ArtifactStore) -> None:
        """Rebuild the search from what is on disk."""
        scoring = self._plan.scoring
        for point, value in self.study.search.learned if len(scoring.names) == 1 else ():
            (known,) = scoring.minimised({scoring.names[0]: value}) or (value,)
            proposals.search.learn(point, known)
        whole, shorter = scan(self._plan, self.study, store)
        for stored in whole:
            if len(stored.runs) == self.study.n_runs or proposals.n_known < self.study.max_trials:
                self._restore(proposals, stored, store)
        for stored in shorter:
            if proposals.n_known < self.study.max_trials:
                self._extend(proposals, stored)

    def _restore(self, proposals: Proposals, stored: Stored, store: ArtifactStore) -> None:
        manifest, asked = stored.runs[FIRST]
        number = asked.number
        if number is None or number < proposals.next_number:
            number = proposals.next_number
        proposals.note(manifest, number, stored.point)
        runs = self._parts[number] = self._read(proposals, stored, number, store)
        if len(runs) < self.study.n_runs:
            proposals.search.restore(number, stored.point, None, asked, ended=False)
            return
        ended = as_point(self.study, runs)
        self._count(ended)
        if self.study.replication.across != "rank":
            proposals.search.restore(
                number, stored.point, ended.values, asked, ended=True, pruned_at=ended.pruned_at
            )

    def _read(
        self, proposals: Proposals, stored: Stored, number: int, store: ArtifactStore
    ) -> dict[Slot, Ended]:
        """Return the runs of a point that have ended and can be judged; the others are pending."""
        runs: dict[Slot, Ended] = {}
        _, first = stored.runs[FIRST]
        for slot in slots(self.study):
            if slot not in stored.runs:
                fresh = run_of(self._plan, self.study, stored.point, slot)
                proposals.pending.append(Next(fresh, number, first.by, first.attempt))
                continue
            manifest, asked = stored.runs[slot]
            outcome = store.outcome(manifest)
            if outcome is None or self.has_another_chance(outcome):
                proposals.pending.append(Next(manifest, number, first.by, first.attempt, asked.extends))
                continue
            if self.early:
                self._unjudged += 1
                continue
            runs[slot] = self.runs[manifest.trial_id] = self._judge(manifest, asked, outcome)
            if self.watch is not None:
                self.watch.end(manifest, outcome)
        return runs

    def _extend(self, proposals: Proposals, stored: Stored) -> None:
        """Have a point run on that has run with less."""
        number = proposals.next_number
        first = run_of(self._plan, self.study, stored.point, FIRST)
        if proposals.is_known(first):
            return
        proposals.note(first, number, stored.point)
        for slot in slots(self.study):
            source = stored.runs.get(slot)
            extends = None if source is None else source[0].trial_id
            fresh = run_of(self._plan, self.study, stored.point, slot)
            proposals.pending.append(Next(fresh, number, "extend", extends=extends))
        proposals.search.restore(number, stored.point, None, Asked(number, "", "extend"), ended=False)

    # Proposals.

    def _propose(self) -> Next | None:
        self._rank()
        proposals = self._proposals
        if proposals is not None and (run := proposals.waiting(stopped=self.stopped is not None)):
            return run
        searching = sum(trial.by != "confirm" for trial in self.running.values())
        begun = len(self.ended) + searching if proposals is None else proposals.n_known
        if self.stopped is None and begun < self.study.max_trials:
            if proposals is None:
                return self._fixed_point()
            proposal = proposals.ask()
            if proposal is None:
                self.stopped = f"all {proposals.n_known} points of its search space are known"
            return proposal
        if searching:
            return None
        seeds, best = self._confirmations(), self.best()
        if not seeds or best is None:
            return None
        fresh = run_of(self._plan, self.study, confirm.point_of(self.study, best.manifest), seeds[0])
        return Next(fresh, None, "confirm")

    def _fixed_point(self) -> Next | None:
        for point in self._points:
            manifest = self._plan.manifest(self.study, point.hyperparams, point.seed)
            if manifest.trial_id not in self.ended and manifest.trial_id not in self.running:
                return Next(manifest, None, "fixed", extends=self._sources.get(manifest.trial_id))
        return None

    def _confirmations(self) -> list[Slot]:
        """List the fresh seeds, and where, on which the best point is still to be run."""
        if self._best is None or self.search is None:
            return []
        begun = [entry.manifest for entry in self._runs_of_best()]
        begun += [trial.manifest for trial in self.running.values()]
        return confirm.left(self.study, begun)

    def _runs_of_best(self) -> list[Ended]:
        best = self.best()
        return [] if best is None else confirm.runs_of(self.study, best, self.confirmed.values())

    # Small things.

    def _judge(self, manifest: Manifest, asked: Asked, outcome: Outcome) -> Ended:
        self._took.append(outcome.runtime_sec + outcome.prepare_sec)
        plan, pid = self._plan, manifest.pid
        trusted, label = self.trusted.get(pid), self.study.label_at(pid)
        return score(Trial(manifest, asked), outcome, plan.scoring, plan.task.comparison, trusted, label)

    def _first_objective(self, metrics: Mapping[str, Any], pid: str) -> float | None:
        """Return what the search minimises first, of metrics that a running trial reports."""
        scoring, trusted = self._plan.scoring, self.trusted.get(pid)
        first = Scoring(scoring.first, scoring.names[:1], scoring.goals)
        values = first.minimised(first.scores(metrics, self._plan.task.comparison, trusted))
        return None if values is None else values[0]


def _order(ended: Ended) -> tuple[tuple[float, ...], tuple[float, str, str]]:
    return ended.values or (), ended.age
