"""Failed trials that are to run again: their outcomes are set aside, nothing is deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import Manifest, Outcome, State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.store.events import EventLog, Kind

FAILED = tuple(state for state in State if state not in (State.OK, State.PRUNED))
"""States that say that something went wrong."""


@dataclass(frozen=True)
class Failed:
    """A trial or reference that could run again."""

    manifest: Manifest
    outcome: Outcome


def find(store: ArtifactStore, states: Collection[State], trial_ids: Collection[str]) -> list[Failed]:
    """Return trials by their ids, or else all in one of *states*, in the order of their folders.

    Raises:
        SpecError: An id has no trial, or its trial has no outcome; all of them at once.
    """
    found = list(_ended(store))
    if not trial_ids:
        return [one for one in found if one.outcome.state in states]
    by_id = {one.manifest.trial_id: one for one in found}
    missing = [trial_id for trial_id in dict.fromkeys(trial_ids) if trial_id not in by_id]
    if missing:
        raise SpecError(
            "\n".join(
                f"{trial_id}: no trial in {store.paths.root} has this id and an outcome; "
                "see parsl-optuna status"
                for trial_id in missing
            )
        )
    return [by_id[trial_id] for trial_id in dict.fromkeys(trial_ids)]


def retire(store: ArtifactStore, failed: Collection[Failed], events: EventLog) -> None:
    """Set outcomes aside, so that the next run of the same command starts their trials from the beginning."""
    for one in failed:
        manifest = one.manifest
        folder = store.paths.metrics(manifest.pid, manifest.method, manifest.trial_id).parent
        Checkpoint(folder).clear()
        store.retire(manifest)
        state = one.outcome.state.value
        events.add(Kind.RETIRED, trial_id=manifest.trial_id, pid=manifest.pid, state=state)


def _ended(store: ArtifactStore) -> Iterator[Failed]:
    for pid in store.problem_ids():
        for method in store.methods(pid):
            for manifest, _ in store.manifests(pid, method):
                outcome = store.outcome(manifest)
                if outcome is not None:
                    yield Failed(manifest, outcome)
