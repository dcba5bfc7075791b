"""A store that reads the artifacts and keeps in memory what would be written, for simulations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parsl_optuna.core import ids
from parsl_optuna.core.clock import utc_now
from parsl_optuna.core.records import Asked, Manifest, Outcome, ReferenceValue, State
from parsl_optuna.store.artifacts import ArtifactStore


class SimulatedStore(ArtifactStore):
    """The artifacts below *root*, and what would be added to them; nothing is written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._manifests: dict[tuple[str, str], dict[str, tuple[Manifest, Asked]]] = {}
        self._outcomes: dict[str, Outcome | None] = {}
        self._references: dict[str, ReferenceValue] = {}

    def put_problem(self, task: str, version: int, problem: Mapping[str, Any], label: str) -> str:
        """Return the problem's id."""
        del label
        return ids.problem_id(task, version, problem)

    def put_reference(self, pid: str, data: Mapping[str, Any]) -> None:
        """Do nothing: `simulate_reference` adds the value."""

    def simulate_reference(self, pid: str, reference: ReferenceValue) -> None:
        """Add a reference."""
        self._references[pid] = reference

    def reference(self, pid: str, value: str, se: str) -> ReferenceValue | None:
        """Return a reference, the simulated one if there is one."""
        return self._references.get(pid) or super().reference(pid, value, se)

    def put_manifest(self, manifest: Manifest, asked: Asked) -> Asked:
        """Add a manifest."""
        added = self._manifests.setdefault((manifest.pid, manifest.method), {})
        return added.setdefault(manifest.trial_id, (manifest, asked))[1]

    def manifest(self, pid: str, method: str, trial_id: str) -> tuple[Manifest, Asked]:
        """Return a manifest."""
        added = self._manifests.get((pid, method), {}).get(trial_id)
        return super().manifest(pid, method, trial_id) if added is None else added

    def manifests(self, pid: str, method: str) -> Iterator[tuple[Manifest, Asked]]:
        """Yield the manifests that are there, and those that were added."""
        added = self._manifests.get((pid, method), {})
        yield from (one for one in super().manifests(pid, method) if one[0].trial_id not in added)
        yield from added.values()

    def outcome(self, manifest: Manifest) -> Outcome | None:
        """Return the outcome of a trial, a simulated one if there is one."""
        if manifest.trial_id in self._outcomes:
            return self._outcomes[manifest.trial_id]
        return super().outcome(manifest)

    def simulate(self, manifest: Manifest, seconds: float, metrics: Mapping[str, Any]) -> Outcome:
        """Add the outcome of a simulated trial that succeeds."""
        now = utc_now()
        outcome = Outcome(
            manifest.trial_id,
            manifest.pid,
            manifest.method,
            State.OK,
            None,
            runtime_sec=seconds,
            budget_sec=manifest.budget_sec,
            started=now,
            ended=now,
            host="",
            metrics=metrics,
        )
        return self.commit(manifest, outcome)

    def commit(self, manifest: Manifest, outcome: Outcome) -> Outcome:
        """Add an outcome."""
        self._outcomes[manifest.trial_id] = outcome
        return outcome

    def retire(self, manifest: Manifest) -> None:
        """Drop an outcome."""
        self._outcomes[manifest.trial_id] = None
