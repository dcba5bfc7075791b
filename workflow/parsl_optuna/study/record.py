"""What is put on record as a trial is asked for, and when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from parsl_optuna.core.clock import utc_now
from parsl_optuna.core.records import Manifest, Outcome, State, Trial
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.events import EventLog, Kind


def announced(proposal: Trial, store: ArtifactStore, events: EventLog, objective: Mapping[str, Any]) -> Trial:
    """Store a trial that is to start, with the time and how it is scored; return it as it is stored."""
    asked = replace(proposal.asked, at=utc_now(), objective=objective)
    if proposal.manifest.role == "reference":
        asked = replace(asked, objective={})
    stored = store.put_manifest(proposal.manifest, asked)
    if stored is asked:
        manifest = proposal.manifest
        events.add(
            Kind.ASKED,
            trial_id=manifest.trial_id,
            pid=manifest.pid,
            method=manifest.method,
            number=asked.number,
            by=asked.by,
        )
    return Trial(proposal.manifest, stored)


def note_end(events: EventLog, manifest: Manifest, outcome: Outcome) -> None:
    """Record when and where a trial started, which its outcome tells, and that it has ended."""
    names = {"trial_id": manifest.trial_id, "pid": manifest.pid}
    if outcome.state is not State.LOST:  # nobody knows of the last attempt at a lost one
        events.add(Kind.STARTED, at=outcome.started, **names, host=outcome.host)
    events.add(
        Kind.ENDED,
        **names,
        state=outcome.state.value,
        reason=outcome.reason,
        runtime_sec=round(outcome.runtime_sec, 3),
        host=outcome.host,
    )
