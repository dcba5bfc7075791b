"""Follows what running trials report, and asks those to stop that a pruner rules out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from parsl_optuna.core.objective import finite
from parsl_optuna.core.records import Manifest, Outcome, State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.progress import Reader, ask_to_stop
from parsl_optuna.study.search.pruners import Pruner

Score = Callable[[Mapping[str, Any]], float | None]
"""From metrics to the first objective."""


class Watch:
    """The running trials of one study.

    Args:
        pruner: Compares them.
        store: Where they report.
        score: Turns reported metrics into what is minimised.
    """

    def __init__(self, pruner: Pruner, store: ArtifactStore, score: Score) -> None:
        self._pruner, self._store, self._score = pruner, store, score
        self._readers: dict[str, Reader] = {}
        self._told: set[str] = set()

    def look(self, running: Iterable[Manifest]) -> list[tuple[Manifest, str]]:
        """Read what is new, then ask trials to stop; return those, with the reason. Each is asked once."""
        open_trials = [manifest for manifest in running if manifest.trial_id not in self._told]
        for manifest in open_trials:
            self._read(manifest)
        asked = []
        for manifest in open_trials:
            reason = self._pruner.reason_to_stop(manifest.trial_id)
            if reason is not None:
                path = self._store.paths.stop(manifest.pid, manifest.method, manifest.trial_id)
                ask_to_stop(path, reason)
                self._told.add(manifest.trial_id)
                asked.append((manifest, reason))
        return asked

    def end(self, manifest: Manifest, outcome: Outcome) -> None:
        """Take what an ended trial has reported, in this life or an earlier one."""
        self._read(manifest)
        self._readers.pop(manifest.trial_id, None)
        value = self._score(outcome.metrics) if outcome.state is State.OK else None
        self._pruner.end(manifest.trial_id, value)

    def _read(self, manifest: Manifest) -> None:
        reader = self._readers.get(manifest.trial_id)
        if reader is None:
            path = self._store.paths.progress(manifest.pid, manifest.method, manifest.trial_id)
            reader = self._readers[manifest.trial_id] = Reader(path)
        for report in reader.new():
            value = finite(self._score(report.metrics))
            if value is not None:
                self._pruner.report(manifest.trial_id, report.step, value)
