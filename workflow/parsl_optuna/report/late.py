"""Trials that a table does not have yet: a run writes it at its end, and a killed one never."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from parsl_optuna.core.counted import noun
from parsl_optuna.core.records import AFTERWARDS
from parsl_optuna.store.events import Kind

_NO_ROWS = {*AFTERWARDS, "reference"}
"""Who asks for trials that have no row in the table."""


def missing(events: Iterable[Mapping[str, Any]], trial_ids: Collection[str]) -> list[str]:
    """Say how many trials of the last command have ended and are not in a table; nothing if it has all.

    Args:
        events: All that are on record, in order; where there are none, nothing is known.
        trial_ids: Those in the table.
    """
    without_row: set[str] = set()
    ended: set[str] = set()
    for event in events:
        kind, trial_id = event["event"], str(event.get("trial_id"))
        if kind == Kind.COMMAND_STARTED.value:
            ended.clear()
        elif kind == Kind.ASKED.value and event.get("by") in _NO_ROWS:
            without_row.add(trial_id)
        elif kind == Kind.ENDED.value:
            ended.add(trial_id)
    late = ended - without_row - set(trial_ids)
    if not late:
        return []
    return [
        f"{len(late)} more {noun(len(late), 'trial')} of the last command ended, and the table does not have "
        "them: the same command again, or parsl-optuna collect, takes them into it"
    ]
