"""What is on disk of a study: its points with their runs, and shorter runs that it could go on from."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from parsl_optuna.core.ended import age_of
from parsl_optuna.core.records import Asked, Manifest
from parsl_optuna.core.space import Scalar
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.plan.plans import RunPlan, Site, StudyPlan

Slot = tuple[int, int]
"""Index of the site and replicate number: which of a point's runs."""

FIRST: Slot = (0, 0)


@dataclass(frozen=True)
class Next:
    """A trial to start."""

    manifest: Manifest
    number: int | None
    by: str
    attempt: int = 0
    extends: str | None = None


@dataclass
class Stored:
    """A point that is on disk.

    Attributes:
        point: Of the search space.
        runs: Those that were started.
    """

    point: Mapping[str, Scalar]
    runs: dict[Slot, tuple[Manifest, Asked]] = field(default_factory=dict)

    @property
    def age(self) -> tuple[float, str, str]:
        """What points are ordered by: the number, time and id of the first run."""
        return age_of(*self.runs[FIRST])


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Hold the garbage collector off: to look through thousands of records takes longer than to read them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def slots(study: StudyPlan, seeds: range | None = None) -> list[Slot]:
    """Return the runs of a point, the first one first; other *seeds* than its replicates may be given."""
    sites = range(len(study.sites))
    return [(index, seed) for seed in seeds or range(study.replication.replicates) for index in sites]


def slot_of(study: StudyPlan, manifest: Manifest) -> Slot:
    """Return which of its point's runs a trial is."""
    return next(i for i, site in enumerate(study.sites) if site.pid == manifest.pid), manifest.seed


def run_of(plan: RunPlan, study: StudyPlan, point: Mapping[str, Scalar], slot: Slot) -> Manifest:
    """Return one of a point's runs."""
    site = study.sites[slot[0]]
    return plan.manifest(study, {**site.base, **point}, slot[1], site)


def scan(plan: RunPlan, study: StudyPlan, store: ArtifactStore) -> tuple[list[Stored], list[Stored]]:
    """Return the stored points of a study, whoever asked for them, in their order.

    The second list holds, of points that have run with less of what the task calls their length, the longest
    of such runs that left a checkpoint.
    """
    length = plan.task.extends.get(study.method)
    if length is not None and (length in study.space.dimensions or length not in study.base):
        length = None
    whole: dict[str, Stored] = {}
    shorter: dict[str, Stored] = {}
    for index, site in enumerate(study.sites):
        for manifest, asked in store.manifests(site.pid, study.method):
            if not _is_of(manifest, plan, study):
                continue
            slot = (index, manifest.seed)
            point = study.point_of(manifest.hyperparams, site)
            if point is not None and manifest.budget_sec == study.budget_sec:
                first = manifest if study.n_runs == 1 else run_of(plan, study, point, FIRST)
                whole.setdefault(first.trial_id, Stored(point)).runs[slot] = (manifest, asked)
            elif point is None and length is not None:
                _add_shorter(shorter, plan, study, store, (slot, site, manifest, asked), length)
    return _ordered(whole), _ordered(shorter)


def shorter_points(plan: RunPlan, study: StudyPlan, store: ArtifactStore) -> dict[str, str]:
    """Return, for fixed points of a study that have run with less, the longest such run, by their ids."""
    length = plan.task.extends.get(study.method)
    if length is None or study.points is None:
        return {}
    wanted: dict[str, list[Manifest]] = {}
    for point in study.points:
        manifest = plan.manifest(study, point.hyperparams, point.seed)
        if length in point.hyperparams:
            wanted.setdefault(_without(manifest, length), []).append(manifest)
    found: dict[str, Manifest] = {}
    for manifest, _ in store.manifests(study.pid, study.method):
        if manifest.role == "reference":  # of which the budget is no part, as it could have been any
            continue
        for longer in wanted.get(_without(manifest, length), []):
            size, known = manifest.hyperparams[length], found.get(longer.trial_id)
            is_longest = known is None or _less(known.hyperparams[length], size)
            if _less(size, longer.hyperparams[length]) and is_longest and _can_go_on(store, manifest):
                found[longer.trial_id] = manifest
    return {trial_id: manifest.trial_id for trial_id, manifest in found.items()}


def _without(manifest: Manifest, length: str) -> str:
    """Return what two runs have in common that differ in their length, and perhaps in their budget, alone."""
    data = manifest.identity()
    del data["budget_sec"]
    data["hyperparams"].pop(length, None)
    return json.dumps(data, sort_keys=True)


def _can_go_on(store: ArtifactStore, manifest: Manifest) -> bool:
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
    store: ArtifactStore,
    found: tuple[Slot, Site, Manifest, Asked],
    length: str,
) -> None:
    slot, site, manifest, asked = found
    point = study.point_of(manifest.hyperparams, site, but=length)
    if point is None or not _less(manifest.hyperparams[length], site.base[length]):
        return
    if not _can_go_on(store, manifest):
        return
    entry = shorter.setdefault(run_of(plan, study, point, FIRST).trial_id, Stored(point))
    known = entry.runs.get(slot)
    if known is None or _less(known[0].hyperparams[length], manifest.hyperparams[length]):
        entry.runs[slot] = (manifest, asked)


def _less(a: Scalar, b: Scalar) -> bool:
    return isinstance(a, (int, float)) and isinstance(b, (int, float)) and a < b


def _ordered(entries: Mapping[str, Stored]) -> list[Stored]:
    return sorted((entry for entry in entries.values() if FIRST in entry.runs), key=lambda entry: entry.age)
