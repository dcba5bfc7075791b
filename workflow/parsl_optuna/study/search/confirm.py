"""Runs of a study's best point on fresh seeds: they tell what luck adds to the best value of a search."""

from __future__ import annotations

from collections.abc import Iterable

from parsl_optuna.core.ended import Ended
from parsl_optuna.core.records import Manifest
from parsl_optuna.core.space import Scalar
from parsl_optuna.study.plan.plans import Slot, StudyPlan
from parsl_optuna.study.pooling import pooled


def point_of(study: StudyPlan, manifest: Manifest) -> dict[str, Scalar]:
    """Return the point that a run belongs to."""
    return {name: manifest.hyperparams[name] for name in study.space.dimensions}


def runs_of(study: StudyPlan, best: Ended, confirmed: Iterable[Ended]) -> list[Ended]:
    """Return those runs on fresh seeds that are of the best point."""
    point = point_of(study, best.manifest)
    return [entry for entry in confirmed if point_of(study, entry.manifest) == point]


def values(study: StudyPlan, runs: Iterable[Ended]) -> list[float]:
    """Return the first objective on every fresh seed on which a point ran everywhere."""
    by_seed: dict[int, list[Ended]] = {}
    for entry in runs:
        by_seed.setdefault(entry.manifest.seed, []).append(entry)
    aggregate = "worst" if study.replication.across == "worst" else "mean"
    whole = [pooled(entries, aggregate) for entries in by_seed.values() if len(entries) == len(study.sites)]
    return [
        value
        for run in whole
        if run.values is not None
        for value in list(run.objectives.values())[:1]
        if value is not None
    ]


def left(study: StudyPlan, begun: Iterable[Manifest]) -> list[Slot]:
    """Return the fresh seeds, and where, on which a point is still to be run."""
    if not study.replication.confirm:
        return []
    done = {study.slot_of(manifest) for manifest in begun}
    fresh = range(study.replication.replicates, study.replication.replicates + study.replication.confirm)
    return [slot for slot in study.slots(fresh) if slot not in done]
