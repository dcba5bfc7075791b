"""What a run tells of its results where something was edited since the last one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.counted import counted
from parsl_optuna.core.errors import WorkflowError
from parsl_optuna.core.load import dump_yaml, read_yaml
from parsl_optuna.store.layout import Results

if TYPE_CHECKING:
    from parsl_optuna.core.ended import Ended
    from parsl_optuna.study.driver import RunResult
    from parsl_optuna.study.plan.plans import RunPlan

_MOST_NAMES = 5
"""Files that a warning lists."""

_MOST_STUDIES = 3


def former_space(results: Results) -> Any:
    """Return the search space of the last command as it was written; None where none is known."""
    try:
        data = read_yaml(results.config)
    except (WorkflowError, OSError):
        return None
    return data.get("search_space") if isinstance(data, Mapping) else None


def other_space(former: Any, space: Any, n_started: int, n_shown: int) -> list[str]:
    """Say that all trials are of another search space: nothing was left to propose in this one.

    Args:
        former: From `former_space`.
        space: The one of this command, as plain data.
        n_started: Trials that this command ran.
        n_shown: Trials in its table.
    """
    if former is None or n_started or not n_shown or dump_yaml({"_": former}) == dump_yaml({"_": space}):
        return []
    return [
        "the search space is not that of the last command, and none of its trials was run: what is shown are "
        "earlier trials that lie in both; raise optuna.max_trials to search the new one"
    ]


def left_out(plan: RunPlan, result: RunResult, table: Path) -> list[str]:
    """Say which trials of the former table are not in the new one.

    Args:
        plan: The run.
        result: What it left. Of one that was interrupted, trials are missing that run again.
        table: The former table; need not be there.
    """
    from parsl_optuna.report.tables import read  # noqa: PLC0415

    try:
        rows = read(table).select(["trial_id", "pid", "method", "problem"]).to_pylist()
    except (WorkflowError, KeyError):  # none, or none that can be read
        return []
    ours = {(one.pid, study.method) for study in plan.studies for one in study.instances}
    shown = {trial_id for study in result.studies for trial_id in study.runs}
    active = {(one.pid, study.study.method) for study in result.studies for one in study.study.instances}
    gone = [row for row in rows if row["trial_id"] not in shown]
    foreign = [row for row in gone if (row["pid"], row["method"]) not in ours]
    outside = [row for row in gone if (row["pid"], row["method"]) in active and not result.interrupted]
    said = []
    if foreign:
        said.append(
            f"{table} had {_listed(foreign)}, which this configuration does not have: they are kept in the "
            "artifacts, and parsl-optuna collect lists them; name another --results-dir to keep both tables"
        )
    if outside:
        said.append(
            f"{table} had {_listed(outside)} that are no trials of this configuration any more, by their "
            "search space, budget, length or replicates: they do not count, and are kept in the artifacts"
        )
    return said


def _listed(rows: Iterable[Mapping[str, Any]]) -> str:
    counts = Counter(f"{row['problem']}, {row['method']}" for row in rows)
    most = counts.most_common(_MOST_STUDIES)
    listed = "; ".join(f"{counted(count, 'trial')} of {label}" for label, count in most)
    return f"{listed}; …" if len(counts) > len(most) else listed


def other_code(ended: Iterable[Ended]) -> list[str]:
    """Say which files of the user's changed since the trials shown ran."""
    from parsl_optuna.worker.provenance import changed_code  # noqa: PLC0415  not for --help

    changed = changed_code((one.outcome.code for one in ended), Path.cwd())
    if not changed:
        return []
    more = f" and {len(changed) - _MOST_NAMES} more" if len(changed) > _MOST_NAMES else ""
    return [
        f"{', '.join(changed[:_MOST_NAMES])}{more} changed since trials ran that imported or read it: "
        "their results are those of the older file; for new trials list it under 'files' of the problem, "
        "or set 'code: strict' there for modules"
    ]
