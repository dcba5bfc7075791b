"""What is known of one study: a reducer over events, without files, clock or search.

The events are the methods in the first part of `StudyState`. In whatever order ended, lost and reference
ready come, the state is the one that the files alone give.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection
from dataclasses import replace
from statistics import fmean

from parsl_optuna.core.counted import counted
from parsl_optuna.core.digits import digits_of
from parsl_optuna.core.ended import Ended, age_of, score
from parsl_optuna.core.objective import Scoring
from parsl_optuna.core.records import AFTERWARDS, Comparison, Outcome, ReferenceValue, State, Trial
from parsl_optuna.study.plan.plans import FIRST, Slot, StudyPlan
from parsl_optuna.study.pooling import Ranks, as_point, by_instance, pooled

_RECENT = 32
"""So many of the last trials say how long the next ones take: enough for a mean, few enough for a drift."""

Key = int | str
"""What the trials of one point share: the number of a search's point, the id of a fixed trial."""


class StudyState:
    """One study.

    Args:
        study: The study.
        scoring: How its trials are scored.
        comparison: Which metrics are compared with the reference; None for a task without one.
        waits_for: Problems whose reference is yet to come; trials there are scored when it does.

    Attributes:
        running: Trials that were started, by id.
        unfinished: Trials that were asked for and neither run nor have ended, by id.
        waiting: Trials that have ended and wait for a reference, by id.
        runs: Trials that were scored, by id.
        points: Points whose trials were all scored, each as one, by the id of the first trial.
        completed: Keys of these points, in the order in which they were completed.
        confirmed: Trials of the best point on further replicates, by id.
        baselines: Trials of what the best point is compared with, by id.
        trusted: References by problem.
        n_failed: Points that failed; pruned ones have not.
        best: The best point; None while none succeeded. One that misses a constraint is that only while none
            meets all.
        ranks: Of the points among each other, where the study asks for that and `rank` was called.
    """

    def __init__(
        self,
        study: StudyPlan,
        scoring: Scoring,
        comparison: Comparison | None,
        waits_for: Collection[str] = (),
    ) -> None:
        self.study, self.scoring, self.comparison = study, scoring, comparison
        self._waits_for = set(waits_for) & {instance.pid for instance in study.instances}
        self._keys: dict[str, Key] = {}
        self._parts: dict[Key, dict[Slot, Ended]] = {}
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._since_best, self._is_stale = 0, False
        self._halted: str | None = None
        self.running: dict[str, Trial] = {}
        self.unfinished: dict[str, Trial] = {}
        self.waiting: dict[str, tuple[Trial, Outcome]] = {}
        self.runs: dict[str, Ended] = {}
        self.points: dict[str, Ended] = {}
        self.completed: list[Key] = []
        self.confirmed: dict[str, Ended] = {}
        self.baselines: dict[str, Ended] = {}
        self.trusted: dict[str, ReferenceValue] = {}
        self.n_failed = 0
        self.best: Ended | None = None
        self.ranks: Ranks | None = None

    # Events.

    def asked(self, trial: Trial, key: Key) -> None:
        """Take a trial of a point that is on disk."""
        trial_id = trial.manifest.trial_id
        if trial_id not in self._keys:
            self._keys[trial_id] = key
            self.unfinished[trial_id] = trial

    def started(self, trial: Trial, key: Key) -> None:
        """Take a trial that was handed to a worker."""
        self.asked(trial, key)
        self.running[trial.manifest.trial_id] = trial
        self.unfinished.pop(trial.manifest.trial_id, None)

    def lost(self, trial_id: str) -> None:
        """Take a trial back that did not run after all."""
        trial = self.running.pop(trial_id, None)
        if trial is not None:
            self.unfinished[trial_id] = trial

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Take the outcome of a trial that was asked for; a second one of the same trial is none."""
        trial_id = trial.manifest.trial_id
        if trial_id in self.runs or trial_id in self.waiting or trial_id not in self._keys:
            return
        self.running.pop(trial_id, None)
        self.unfinished.pop(trial_id, None)
        self._recent.append(outcome.runtime_sec + outcome.prepare_sec)
        if trial.manifest.pid in self._waits_for:
            self.waiting[trial_id] = (trial, outcome)
        else:
            self._score(trial, outcome)

    def reference_ready(self, pid: str, trusted: ReferenceValue) -> None:
        """Take a problem's reference, and score what has waited for it."""
        self.trusted[pid] = trusted
        self._waits_for.discard(pid)
        ready = [entry for entry in self.waiting.values() if entry[0].manifest.pid == pid]
        for trial, outcome in sorted(ready, key=lambda entry: age_of(entry[0].manifest, entry[0].asked)):
            del self.waiting[trial.manifest.trial_id]
            self._score(trial, outcome)

    def stopped(self, reason: str) -> None:
        """Take the order to ask for nothing more; the first reason counts."""
        self._halted = self._halted or reason

    def resumed(self) -> None:
        """Take a new start: nothing runs, and orders to stop are over."""
        for trial_id in list(self.running):
            self.lost(trial_id)
        self._halted = None

    # What follows from them.

    @property
    def stop_reason(self) -> str | None:
        """Why the study asks for nothing more; None while it does."""
        return self._halted or self._failures() or self._enough()

    @property
    def is_waiting_for_reference(self) -> bool:
        """Whether trials cannot be scored yet."""
        return bool(self._waits_for)

    @property
    def n_searching(self) -> int:
        """How many trials run that belong to the search."""
        return sum(trial.asked.by not in AFTERWARDS for trial in self.running.values())

    @property
    def mean_sec(self) -> float:
        """How long a trial takes: the mean of the last ones, the budget before the first one ends."""
        return fmean(self._recent) if self._recent else self.study.budget_sec

    def most_together(self, window_sec: float) -> int:
        """Return how many of the trials in flight may end within a time, by how alike the last ones were."""
        took = sorted(self._recent)
        if len(took) < 2:
            return 1
        ends = (bisect_right(took, begin + window_sec) - i for i, begin in enumerate(took))
        return max(1, round(self.study.batch_size * max(ends) / len(took)))

    @property
    def successes(self) -> list[Ended]:
        """Points with all objectives, in their order."""
        self.rank()
        return sorted((one for one in self.points.values() if one.values is not None), key=lambda e: e.age)

    @property
    def contenders(self) -> list[Ended]:
        """The successes that compare with the best point: with a fidelity, those of its length."""
        fidelity = self.study.search.fidelity
        if fidelity is None or self.best is None:
            return self.successes
        length = self.best.manifest.hyperparams[fidelity.parameter]
        return [one for one in self.successes if one.manifest.hyperparams[fidelity.parameter] == length]

    def knows(self, trial_id: str) -> bool:
        """Whether a trial was asked for."""
        return trial_id in self._keys

    def is_completed(self, key: Key) -> bool:
        """Whether all trials of a point were scored."""
        return len(self._parts.get(key, ())) == self.n_parts(key)

    def n_parts(self, key: Key) -> int:
        """Return how many trials a point has."""
        return self.study.n_runs if isinstance(key, int) else 1

    def point(self, key: Key) -> Ended:
        """Return a completed point."""
        parts = self._parts[key]
        return parts[FIRST] if self.n_parts(key) == 1 else as_point(self.study, parts)

    def rank(self) -> None:
        """Value every point by its ranks among all, where the study asks for that."""
        if not self._is_stale:
            return
        self._is_stale = False
        whole = [by_instance(self.study, self._parts[key]) for key in self.completed]
        self.ranks = Ranks({runs[0].manifest.trial_id: runs for runs in whole})
        for runs in whole:
            entry, ranks = pooled(runs, "mean"), self.ranks.of(runs[0].manifest.trial_id)
            if ranks is not None:
                plain = Scoring(names=entry.scoring.names)  # the least rank is best, whatever it ranks
                entry = replace(entry, objectives=plain.shown(ranks), scoring=plain, spread=None)
            self.points[entry.manifest.trial_id] = entry
        good = [one for one in self.points.values() if one.values is not None]
        self._lead(min(good, key=lambda one: one.place, default=None))

    def _score(self, trial: Trial, outcome: Outcome) -> None:
        manifest = trial.manifest
        label, trusted = self.study.label_at(manifest.pid), self.trusted.get(manifest.pid)
        ended = score(trial, outcome, self.scoring, self.comparison, trusted, label)
        if trial.asked.by == "confirm":
            self.confirmed[manifest.trial_id] = ended
            return
        if trial.asked.by == "baseline":
            self.baselines[manifest.trial_id] = ended
            return
        self.runs[manifest.trial_id] = ended
        key = self._keys[manifest.trial_id]
        parts = self._parts.setdefault(key, {})
        parts[self.study.slot_of(manifest) if isinstance(key, int) else FIRST] = ended
        if len(parts) == self.n_parts(key):
            self._complete(key, self.point(key))

    def _complete(self, key: Key, point: Ended) -> None:
        """Add a point; what is done with every one must not cost a pass over all of them."""
        self.completed.append(key)
        self.points[point.manifest.trial_id] = point
        self.n_failed += self._is_failed(point)
        best = self.best
        if self.study.replication.across == "rank":
            self._is_stale = True
        elif point.values is not None and (best is None or self._place(point) < self._place(best)):
            self._lead(point)
        elif best is not None and point.age > best.age:
            self._since_best += 1

    def _place(self, point: Ended) -> tuple[bool, int, object]:
        """Return what points are compared by: with a fidelity, longer ones come first."""
        fidelity = self.study.search.fidelity
        rung = 0 if fidelity is None else fidelity.rung_of(point.manifest.hyperparams)
        return point.violation > 0, -rung, point.place

    def _lead(self, best: Ended | None) -> None:
        self.best = best
        if best is not None:
            self._since_best = sum(one.age > best.age for one in self.points.values())

    def _is_failed(self, point: Ended) -> bool:
        """Whether a point did not come to what it is for: a value for the search, or just to its end."""
        if self.study.points is not None:
            return point.outcome.state not in (State.OK, State.PRUNED)
        return point.values is None and not point.is_pruned

    def _failures(self) -> str | None:
        limit, count = self.study.stop.after_failures, len(self.points)
        if self.n_failed < count:
            return None
        for point in self.points.values():
            if point.outcome.cure is not None:
                return f"{point.outcome.reason}; {point.outcome.cure}"
        if not limit or count < limit:
            return None
        last = max(self.points.values(), key=lambda entry: entry.age)
        return (
            f"its first {count} trials all failed, the last one: {last.outcome.reason}"
            if count > 1
            else f"its first trial failed: {last.outcome.reason}"
        )

    def _enough(self) -> str | None:
        """Say why the study has had enough, by its target or its patience."""
        self.rank()
        rules = self.study.stop
        if self.best is None or self.best.values is None:
            return None
        name, best = next(iter(self.best.objectives.items()))
        fidelity = self.study.search.fidelity
        params = self.best.manifest.hyperparams
        is_whole = fidelity is None or params[fidelity.parameter] == fidelity.max
        if rules.target is not None and best is not None and is_whole and not self.best.violation:
            is_maximised = self.best.scoring.is_maximised(name)
            digits = digits_of((best, rules.target))
            if best >= rules.target if is_maximised else best <= rules.target:
                words = "at least" if is_maximised else "at most"
                return f"reached its target: {best:.{digits}g} is {words} {rules.target:.{digits}g}"
        if rules.patience is not None and self._since_best >= rules.patience:
            return f"no improvement in its last {counted(self._since_best, 'trial')}"
        return None
