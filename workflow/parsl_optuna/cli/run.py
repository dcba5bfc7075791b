"""``parsl-optuna run``: tune every (problem, method) of a configuration; the default command."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from parsl_optuna.api import session
from parsl_optuna.cli import options
from parsl_optuna.core.counted import counted, noun
from parsl_optuna.core.labels import named
from parsl_optuna.core.objective import DIAGNOSIS
from parsl_optuna.core.records import State
from parsl_optuna.execution import lifetime
from parsl_optuna.store.layout import Results
from parsl_optuna.study.plan.tuning import load_run, plan_run
from parsl_optuna.worker.classify import asked_metrics

if TYPE_CHECKING:
    from parsl_optuna.study.active import ActiveStudy
    from parsl_optuna.study.driver import RunResult
    from parsl_optuna.study.plan.plans import RunPlan

_MOST_REASONS = 5
_MOST_LETTERS = 100
"""What a summary has room for: as many lines as a study has on a small screen, of its width."""


@click.command("run")
@options.config
@options.assignments
@options.backend
@options.budgets
@options.artifacts_dir
@options.results_dir
def command(
    config: Path,
    assignments: tuple[str, ...],
    local: bool,
    parsl_config: str | None,
    inline: bool,
    artifacts_dir: str | None,
    results_dir: str | None,
    **budgets: Any,
) -> int:
    """Tune every (problem, method) of a configuration.

    Values on the command line win over the file's. Running the same command again continues where
    the last one stopped, and repeats nothing.
    """
    spec = options.with_budgets(load_run(config, assignments), **budgets)
    spec = options.with_folders(spec, artifacts_dir, results_dir, parsl_config)
    results = Results(Path(spec.results_dir))
    plan, tell = plan_run(spec, str(config)), partial(report, spec.artifacts_dir)
    return carry_out(spec, plan, results, tell, local=local, inline=inline)


def carry_out(
    spec: Any,
    plan: RunPlan,
    results: Results,
    report: Callable[[RunPlan, RunResult, Results], object],
    *,
    local: bool,
    inline: bool,
    is_strict: bool = False,
) -> int:
    """Run a plan as every command does that runs one.

    Args:
        spec: The configuration.
        plan: The plan made from it.
        results: Where the results go.
        report: Writes and prints the command's summary, while no other driver may write there.
        local: Whether ``--local`` is given.
        inline: Whether ``--inline`` is given.
        is_strict: Whether one trial that is not ok makes the exit code 1.

    Returns:
        The exit code: 130 for an interrupted run, 75 where the job around it ends, 1 where a problem failed
        or a study has no result, else 0.
    """
    result = session.carry_out(
        spec, plan, results, local=local, inline=inline, report=lambda result: report(plan, result, results)
    )
    if result.interrupted:
        return lifetime.AGAIN if lifetime.is_over() else 130
    enough = all(_is_enough(trials, is_strict=is_strict) for trials in result.studies)
    return 0 if enough and not result.failures else 1


def _is_enough(trials: Any, *, is_strict: bool) -> bool:
    """Whether a study has a successful trial; if strict, whether all its trials are successful."""
    if is_strict:
        return all(entry.outcome.state is State.OK for entry in trials.ended.values())
    return bool(trials.successes)


def report(artifacts_dir: str, plan: Any, result: Any, results: Results) -> None:
    """Write the summary files of a run, and print best points, failures and paths."""
    from parsl_optuna.report.best import best_tables, comparisons, doubts  # noqa: PLC0415

    points, rows = session.write_summary(plan, result, results)
    console = Console()
    for table in best_tables(points):
        console.print(table)
    for problem in plan.problems:
        trusted = result.references.get(problem.pid)
        if problem.pid in result.failures:
            session.warn(f"{named(problem.label, problem.pid)}: {result.failures[problem.pid]}")
        elif trusted is not None and not trusted.is_reliable:
            reason = f"{trusted.status}: {trusted.status_reason}"
            session.warn(f"{named(problem.label, problem.pid)}: its reference is not to be trusted, {reason}")
    for trials in result.studies:
        if trials.stopped or not trials.successes:
            reason = trials.stopped or f"no trial succeeded, the last one: {_last_reason(trials)}"
            session.warn(f"{trials.study.label}, {trials.study.method}: {reason}")
    for line in [line for trials in result.studies for line in infeasible(trials)]:
        session.warn(line)
    for line in doubts(points):
        session.warn(line)
    for line in failures(
        result,
        asked_metrics(plan.task, plan.scoring.to_json()),
        options.folders(artifacts_dir, str(results.root)),
    ):
        session.warn(line)
    for line in [*comparisons(points), *diagnoses(result)]:
        console.print(line, soft_wrap=True)
    for choice in sorted({trials.choice for trials in result.studies if trials.choice is not None}):
        console.print(f"sampler  {choice.sampler}: {choice.reason}", soft_wrap=True)
    has_references = any(problem.reference for problem in plan.problems)
    what = "references and trials" if has_references else noun(result.n_started, "trial")
    full = "" if result.n_started or not _is_full(result) else "; for more, raise optuna.max_trials"
    console.print(
        f"{counted(len(rows), 'trial')} in the table, {result.n_started} {what} run by this command{full}",
        soft_wrap=True,
    )
    console.print(f"table    {results.table}", soft_wrap=True)
    console.print(f"picture  {results.picture}", soft_wrap=True)
    console.print(f"report   {results.report}", soft_wrap=True)


def _is_full(result: Any) -> bool:
    """Whether searches have all the trials that they were asked for; others are on disk already."""
    searches = [trials for trials in result.studies if trials.study.points is None]
    return bool(searches) and all(len(one.state.points) >= one.study.max_trials for one in searches)


def diagnoses(result: Any) -> list[str]:
    """Return a line that counts the trials that ended, but whose diagnosis is not ok; none if all are."""
    ended = [entry for trials in result.studies for entry in trials.runs.values() if entry.values is not None]
    counts = Counter(
        str(entry.outcome.metrics.get("status")) for entry in ended if entry.violations.get(DIAGNOSIS)
    )
    if not counts:
        return []
    listed = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return [f"status   not ok: {counts.total()} of {counted(len(ended), 'trial')}: {listed}"]


def infeasible(trials: ActiveStudy) -> list[str]:
    """Return a line about the points that miss the user's constraints, and one if none meets them all."""
    best, asked = trials.best(), {one.text for one in trials.state.scoring.constraints}
    points = [one for one in trials.successes if any(one.violations[name] > 0 for name in asked)]
    if not points or best is None:
        return []
    place, count = f"{trials.study.label}, {trials.study.method}", len(trials.successes)
    missed = Counter(name for one in points for name in asked if one.violations[name] > 0)
    unknown = Counter(name for one in points for name in asked if one.violations[name] == math.inf)
    told = ", ".join(
        f"{name} by {n}" + (f" ({unknown[name]} without that metric)" if unknown[name] else "")
        for name, n in sorted(missed.items(), key=lambda one: (-one[1], one[0]))
    )
    verb = "misses" if len(points) == 1 else "miss"
    lines = [f"{place}: {len(points)} of {counted(count, 'point')} {verb} a constraint: {told}"]
    if best.violation:
        lines.append(f"{place}: no point meets every constraint; the best is the one that misses them least")
    return lines


def failures(result: Any, asked: Sequence[str], folders: str) -> list[str]:
    """Return lines that count the failed trials by state and reason, and say how they run again.

    Args:
        result: The run.
        asked: The metrics that every trial must report.
        folders: Options for the folders of this run.
    """
    states = [outcome for trials in result.studies for outcome in _failed(trials)]
    if not states:
        return []
    counts = Counter((outcome.state.value, _shortened(outcome.reason)) for outcome in states)
    lines = [f"{counted(len(states), 'trial')} failed:"]
    for (state, reason), count in counts.most_common(_MOST_REASONS):
        lines.append(f"  {count} {state}: {reason}")
    if len(counts) > _MOST_REASONS:
        more = counted(len(counts) - _MOST_REASONS, "further reason")
        lines.append(f"  and {more}; see the column reason of the table")
    invalid = [one for one in states if one.state.value == "invalid"]
    lacking = [one for one in invalid if any(name not in one.metrics for name in asked)]
    if lacking:
        name = next(name for name in asked if name not in lacking[0].metrics)
        lines.append(
            f"  where '{name}' is missing, running again changes nothing: correct the name, here or in the "
            "code; trials that reported the metric named here then count, without running again"
        )
    others = {one.state.value for one in states if one.cure is None and one not in lacking}
    if others:
        retry = f"parsl-optuna retry --state {','.join(sorted(others))}{folders}"
        lines.append(f"  to run them again: {retry}, then the same command")
    return lines


def _failed(trials: Any) -> list[Any]:
    outcomes = [entry.outcome for entry in trials.runs.values()]
    return [outcome for outcome in outcomes if outcome.state.value not in ("ok", "pruned")]


def _shortened(reason: str | None) -> str:
    text = " ".join((reason or "no reason was given").split())
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"


def _last_reason(trials: Any) -> str:
    reasons = [entry.outcome.reason for entry in trials.ended.values() if entry.outcome.reason]
    return reasons[-1] if reasons else "there was none"
