"""The outcome of a trial that has just ended on this machine."""

from __future__ import annotations

import socket
from typing import Any

from parsl_optuna.core.clock import utc_before, utc_now
from parsl_optuna.core.records import Manifest, Outcome, State


def ended(
    manifest: Manifest,
    state: State,
    reason: str | None,
    *,
    runtime_sec: float,
    started: str | None = None,
    **noted: Any,
) -> Outcome:
    """Return an outcome with what the manifest says, and the time and host of its end.

    Args:
        manifest: The trial.
        state: How it ended.
        reason: Why, where it is not ok.
        runtime_sec: How long it took.
        started: When; *runtime_sec* ago, if left out.
        **noted: Further fields of `Outcome`.
    """
    return Outcome(
        manifest.trial_id,
        manifest.pid,
        manifest.method,
        state,
        reason,
        runtime_sec=runtime_sec,
        budget_sec=manifest.budget_sec,
        started=started or utc_before(runtime_sec),
        ended=utc_now(),
        host=socket.gethostname(),
        **noted,
    )
