"""What is on disk of a study: its points with their trials, and shorter trials to extend them from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from parsl_optuna.core.ended import age_of
from parsl_optuna.core.records import Manifest, Outcome, State, Trial
from parsl_optuna.core.space import Scalar
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.plan.plans import FIRST, ProblemInstance, RunPlan, Slot, StudyPlan
from parsl_optuna.worker.classify import judged


@dataclass
class Stored:
    """A point that is on disk.

    Attributes:
        point: Its values in the search space.
        trials: Those that were asked for.
    """

    point: Mapping[str, Scalar]
    trials: dict[Slot, Trial] = field(default_factory=dict)

    @property
    def age(self) -> tuple[float, str, str]:
        """What points are ordered by: the number, time and id of the first trial."""
        first = self.trials[FIRST]
        return age_of(first.manifest, first.asked)


def trials_of(store: ArtifactStore, pid: str, method: str) -> Iterator[Trial]:
    """Yield everything that was asked for of a problem and method."""
    return (Trial(manifest, asked) for manifest, asked in store.manifests(pid, method))


def stored_outcome(plan: RunPlan, store: ArtifactStore, trial: Trial) -> Outcome | None:
    """Return what came of a trial, as it counts for the objective of *plan*; None where it has not ended."""
    outcome = store.outcome(trial.manifest)
    return None if outcome is None else judged(plan.task, trial.asked, outcome, plan.scoring.to_json())


def outcome_of(plan: RunPlan, study: StudyPlan, store: ArtifactStore, trial: Trial) -> Outcome | None:
    """Return what came of a trial, as `stored_outcome` does; None where it is to run, also again."""
    outcome = stored_outcome(plan, store, trial)
    return None if outcome is None or runs_again(study, outcome) else outcome


def runs_again(study: StudyPlan, outcome: Outcome) -> bool:
    """Whether a stored trial is to run again.

    A lost one is, one pruned by a pruner that is gone, and one that shows a fault of all trials, as nothing
    but a try says whether that was corrected.
    """
    is_stale = outcome.state is State.PRUNED and study.search.pruner is None
    return is_stale or outcome.state is State.LOST or outcome.cure is not None


def scan(plan: RunPlan, study: StudyPlan, store: ArtifactStore) -> tuple[list[Stored], list[Stored]]:
    """Return the stored points of a study, whoever asked for them, in their order.

    The second list holds, of points that have run with less of what the task calls their length, the longest
    of such trials that left a checkpoint.
    """
    length = plan.task.extends.get(study.method)
    if length is not None and (length in study.space.dimensions or length not in study.base):
        length = None
    whole: dict[str, Stored] = {}
    shorter: dict[str, Stored] = {}
    for index, instance in enumerate(study.instances):
        for trial in trials_of(store, instance.pid, study.method):
            manifest = trial.manifest
            if not _is_of(manifest, plan, study):
                continue
            slot = (index, manifest.seed)
            point = study.point_of(manifest.hyperparams, instance)
            if point is not None and manifest.budget_sec == study.budget_sec:
                first = manifest if study.n_runs == 1 else plan.manifest_at(study, point, FIRST)
                whole.setdefault(first.trial_id, Stored(point)).trials[slot] = trial
            elif point is None and length is not None and _can_be_extended(store, manifest):
                _add_shorter(shorter, plan, study, (slot, instance, trial), length)
    return _ordered(whole), _ordered(shorter)


def fixed_trials(
    plan: RunPlan, study: StudyPlan, store: ArtifactStore
) -> tuple[dict[str, Trial], dict[str, str]]:
    """Return what is on disk of fixed points, and the longest shorter trial to extend each from; by id."""
    points = study.points or ()
    wanted = {manifest.trial_id: manifest for manifest in (plan.fixed(study, point) for point in points)}
    length = plan.task.extends.get(study.method)
    longer: dict[str, list[Manifest]] = {}
    for manifest in wanted.values():
        if length is not None and length in manifest.hyperparams:
            longer.setdefault(_without(manifest, length), []).append(manifest)
    found: dict[str, Trial] = {}
    sources: dict[str, Manifest] = {}
    for trial in trials_of(store, study.pid, study.method):
        manifest = trial.manifest
        if manifest.trial_id in wanted:
            found[manifest.trial_id] = trial
        elif length is not None and manifest.role != "reference":  # its budget is no part of a reference
            for target in longer.get(_without(manifest, length), []):
                size, known = manifest.hyperparams[length], sources.get(target.trial_id)
                is_longest = known is None or _less(known.hyperparams[length], size)
                is_shorter = _less(size, target.hyperparams[length])
                if is_shorter and is_longest and _can_be_extended(store, manifest):
                    sources[target.trial_id] = manifest
    return found, {trial_id: manifest.trial_id for trial_id, manifest in sources.items()}


def _without(manifest: Manifest, length: str) -> str:
    """Return what two trials share that differ in their length, and perhaps in their budget, alone."""
    data = manifest.identity()
    data.pop("budget_sec", None)
    data["hyperparams"].pop(length, None)
    return json.dumps(data, sort_keys=True)


def _can_be_extended(store: ArtifactStore, manifest: Manifest) -> bool:
    return store.has_checkpoint(manifest) and store.outcome(manifest) is not None


def _is_of(manifest: Manifest, plan: RunPlan, study: StudyPlan) -> bool:
    return (
        manifest.role == "trial"
        and (manifest.task, manifest.task_version) == (plan.task.name, plan.task.version)
        and manifest.seed < study.replication.replicates
    )


def _add_shorter(
    shorter: dict[str, Stored],
    plan: RunPlan,
    study: StudyPlan,
    found: tuple[Slot, ProblemInstance, Trial],
    length: str,
) -> None:
    slot, instance, trial = found
    params = trial.manifest.hyperparams
    point = study.point_of(params, instance, but=length)
    if point is None or not _less(params[length], instance.base[length]):
        return
    entry = shorter.setdefault(plan.manifest_at(study, point, FIRST).trial_id, Stored(point))
    known = entry.trials.get(slot)
    if known is None or _less(known.manifest.hyperparams[length], params[length]):
        entry.trials[slot] = trial


def _less(a: Scalar, b: Scalar) -> bool:
    return isinstance(a, (int, float)) and isinstance(b, (int, float)) and a < b


def _ordered(entries: Mapping[str, Stored]) -> list[Stored]:
    return sorted((entry for entry in entries.values() if FIRST in entry.trials), key=lambda one: one.age)


def is_usable(outcome: Outcome, budget_sec: float) -> bool:
    """Whether a stored reference serves: it ran, and a larger budget could not improve it."""
    if outcome.state is not State.OK:
        return False
    return outcome.metrics.get("status", "ok") == "ok" or outcome.budget_sec >= budget_sec


def has_work(plan: RunPlan, store: ArtifactStore, pid: str) -> bool:
    """Whether a search runs on a problem, or fixed points without an outcome."""
    studies = [one for one in plan.studies if any(instance.pid == pid for instance in one.instances)]
    return any(
        study.points is None or any(store.outcome(plan.fixed(study, point)) is None for point in study.points)
        for study in studies
    )
