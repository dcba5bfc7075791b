"""What the record of events says of a trial that has ended."""

from __future__ import annotations

from parsl_optuna.core.records import Manifest, Outcome, State
from parsl_optuna.store.events import EventLog, Kind


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
