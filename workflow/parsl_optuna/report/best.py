"""The best points of a run: as data for ``best.json`` and as a table for people."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from parsl_optuna.core.digits import FEW, digits_of
from parsl_optuna.core.labels import named
from parsl_optuna.core.objective import finite
from parsl_optuna.study.pooling import middle

if TYPE_CHECKING:
    from parsl_optuna.core.ended import Ended
    from parsl_optuna.study.active import ActiveStudy
    from parsl_optuna.study.driver import RunResult
    from parsl_optuna.study.plan.plans import Baseline
    from parsl_optuna.study.search.observed import Observed


_SIGMAS = 1.96
"""Standard errors of an interval of 95 %."""
_ROUNDING = 1e-9
"""Relative errors below this one are of sums in double precision."""


def best_points(result: RunResult) -> list[dict[str, Any]]:
    """Return one entry per study with a success, as plain data.

    ``confirmed`` is the mean of the leading objective over fresh seeds: the selected value is the
    least of many noisy ones and flatters the point, the confirmed one does not.
    """
    return [_point(trials) for trials in result.studies if trials.best() is not None]


def best_tables(points: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Return one table per problem with one row per method, then one per Pareto front.

    Titles and hyperparameters are lines beside a table: within it they would be as narrow as its columns.

    Where there is a reference, hyperparameters stand below the rows: a terminal of 80 columns has no room.
    """
    tables: dict[str, tuple[RenderableType, Table, list[str]]] = {}
    for point in points:
        title = f"Best for {named(point['problem'], point['pid'])}{_reference(point)}"
        _, table, below = tables.setdefault(point["pid"], (_title(title), _table(point), []))
        cells = _estimate(point)
        varied = "  ".join(f"{name}={short(value)}" for name, value in point["varied"].items())
        selected = _number(point["objective"], digits_in(point))
        if not cells and not point.get("feasible", True):
            selected += " (infeasible)"  # where there are cells, one of them is the status
        first = (point["method"], selected, _confirmed(point))
        if not cells:
            table.add_row(*first, point["trial_id"], varied)
            continue
        table.add_row(*first, *cells, _number(point["sec"], 2))
        for one in point["baselines"]:
            others = _estimate(one) or ("-", "-", "-")
            table.add_row(f"  {one['name']}", "", _confirmed(one), *others, _number(one["sec"], 2))
        below.append(f"{point['method']}  {point['trial_id']}  {varied}")
    fronts = (_front(point) for point in points if point["front"])
    legend = [_legend(point) for point in points if point.get("estimate")][:1]
    return [*(Group(title, table, *below) for title, table, below in tables.values()), *legend, *fronts]


def _legend(point: Mapping[str, Any]) -> RenderableType:
    """Say what the columns of an estimate mean; people see this table first."""
    lines = (
        f"selected     {point['leading']} of the chosen trial: the least of many, which flatters it",
        f"fresh seeds  {point['leading']} of the same point, repeated n times after the search",
        "difference   their mean estimate minus the reference, with its interval of 95 %",
    )
    return Text("\n".join(lines), style="dim")


def _title(text: str) -> RenderableType:
    return Text(text, style="table.title")


def _table(point: Mapping[str, Any]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, collapse_padding=True)  # 80 columns hold it
    names = ("method", "selected", "fresh seeds")
    for name in (
        (*names, "estimate", "difference", "status", "s") if point.get("estimate") else (*names, "trial")
    ):
        table.add_column(name, no_wrap=name != "status", overflow="fold")
    if not point.get("estimate"):
        table.add_column("hyperparameters", overflow="fold", min_width=24)
    return table


def comparisons(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences: which choices are mostly not ok, which did not beat their presets beyond chance."""
    lines = [line for point in points for line in (_distrust(point), _comparison(point))]
    return [line for line in lines if line is not None]


def doubts(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for every choice that failed, or missed a constraint, on fresh seeds."""
    lines = []
    for point in points:
        place, failed = f"{point['problem']}, {point['method']}", point["fresh_failed"]
        n_fresh = point["confirmed_on"] + len(failed)
        if failed:
            lines.append(
                f"{place}: the selected point failed on {len(failed)} of {n_fresh} fresh seeds: {failed[-1]}"
            )
        if point["fresh_infeasible"]:
            missed = f"{point['fresh_infeasible']} of {n_fresh} fresh seeds"
            lines.append(f"{place}: the selected point misses a constraint on {missed}")
    return lines


def _distrust(point: Mapping[str, Any]) -> str | None:
    """Say that a choice is not to be relied on, where most of its trials are not ok."""
    counts = (point.get("estimate") or {}).get("statuses", {})
    n_ok, n_trials = counts.get("ok", 0), sum(counts.values())
    if 2 * n_ok >= n_trials:
        return None
    others = ", ".join(status for status in counts if status != "ok")
    place = f"{point['method']} on {point['problem']}"
    return f"{place}: {n_ok} of {n_trials} trials of the choice are ok ({others})"


def _comparison(point: Mapping[str, Any]) -> str | None:
    presets = [one for one in point["baselines"] if one["name"] == "preset" and one["estimate"]]
    if not presets or not point.get("estimate") or point["confirmed"] is None:
        return None
    (preset,) = presets
    chosen, other = point["estimate"], preset["estimate"]
    if "ok" in chosen["statuses"] and "ok" not in other["statuses"]:
        return None
    gain = preset["confirmed"] - point["confirmed"]
    chance = _SIGMAS * math.hypot(chosen["se"], other["se"])
    if gain > chance:
        return None
    scores = f"{_number(point['confirmed'], 2)} against {_number(preset['confirmed'], 2)}"
    return (
        f"{point['method']} on {point['problem']}: tuning did not beat the preset beyond chance "
        f"({scores} on {point['confirmed_on']} fresh seeds, ±{chance:.1g})"
    )


def _front(point: Mapping[str, Any]) -> RenderableType:
    title = _title(f"Pareto front of {point['method']} for {named(point['problem'], point['pid'])}")
    table = Table(box=SIMPLE, pad_edge=False)
    names = list(point["objectives"])
    digits = {name: digits_in(point, name) for name in names}
    leading = point.get("leading", names[0])
    again = "fresh seeds" if leading == point.get("confirmed_as", leading) else "fresh seeds, no ranks"
    for name in (leading, *names[1:], again, "trial"):
        table.add_column(name, no_wrap=True)
    for member in point["front"]:
        values = (_number(member["objectives"][name], digits[name]) for name in names)
        table.add_row(*values, _member_confirmed(member, digits), member["trial_id"])
    return Group(title, table)


def _point(trials: ActiveStudy) -> dict[str, Any]:
    best = trials.best()
    assert best is not None
    again, asked = trials.confirmations(), [one.text for one in trials.state.scoring.constraints]
    return {
        "pid": trials.study.pid,
        "pids": [instance.pid for instance in trials.study.instances],
        "problem": trials.study.label,
        "method": trials.study.method,
        "trial_id": best.manifest.trial_id,
        "objective": next(iter(best.objectives.values())),
        "objectives": dict(best.objectives),
        "digits": {
            name: digits_of(one.objectives.get(name) for one in trials.state.points.values())
            for name in best.objectives
        },
        "leading": trials.leading,
        "spread": best.spread,
        "confirmed": middle(next(iter(best.objectives)), "mean")(again) if again else None,
        "confirmed_se": _standard_error(again),
        "confirmed_on": len(again),
        "confirmed_as": trials.state.scoring.leading,
        "fresh_failed": [run.outcome.reason for run in trials.fresh if run.values is None],
        "fresh_infeasible": sum(
            any(run.violations[name] > 0 for name in asked) for run in trials.fresh if run.values is not None
        ),
        "hyperparams": dict(best.manifest.hyperparams),
        "varied": trials.varied_of(best.manifest.hyperparams),
        "estimate": _estimated(trials, [best, *trials.fresh]),
        "sec": fmean(run.outcome.runtime_sec for run in trials.fresh or (best,)),
        "baselines": [_baseline(trials, baseline) for baseline in trials.study.baselines],
        "feasible": not best.violation,
        "violations": {name: finite(value) for name, value in best.violations.items()},
        "infeasible_points": len(trials.infeasible),
        "front": [_member(entry) for entry in trials.front()] if len(best.objectives) > 1 else [],
    }


def _baseline(trials: ActiveStudy, baseline: Baseline) -> dict[str, Any]:
    """Return what a baseline came to on the replicates that the choice is confirmed on."""
    runs = trials.baseline_runs(baseline)
    scores = [run.values[0] for run in runs if run.values is not None]
    return {
        "name": baseline.name,
        "confirmed": middle(trials.state.scoring.names[0], "mean")(scores) if scores else None,
        "confirmed_on": len(scores),
        "estimate": _estimated(trials, runs, is_fresh=True),
        "sec": fmean(run.outcome.runtime_sec for run in runs) if runs else None,
        "hyperparams": dict(baseline.hyperparams),
    }


def _estimated(
    trials: ActiveStudy, tried: Sequence[Ended], *, is_fresh: bool = False
) -> dict[str, Any] | None:
    """Return what a point estimates beside the reference.

    The standard error is the stated one, or that of the spread if it is larger. None where there is no
    reference, and of points of several problems.

    Args:
        trials: The study.
        tried: The point's trials.
        is_fresh: Whether the first one counts for the estimate too; it does not, where it is the one that the
            point was chosen by and there are others.
    """
    comparison = trials.state.comparison
    reference = tried[0].reference if tried else None
    if comparison is None or reference is None or len(trials.study.instances) > 1:
        return None
    runs = [one.outcome.metrics for one in (tried if is_fresh or len(tried) < 2 else tried[1:])]
    values = [value for run in runs if (value := finite(run.get(comparison.value))) is not None]
    stated = [finite(run.get(comparison.value_se)) or 0.0 for run in runs]
    if not values:
        return None
    within = math.sqrt(sum(se**2 for se in stated)) / len(stated)
    every = [one.outcome.metrics.get("status") for one in tried]
    return {
        "value": fmean(values),
        "se": max(within, _standard_error(values) or 0.0),
        "statuses": dict(Counter(str(status) for status in every if status is not None)),
        "reference": reference.value,
        "reference_se": reference.se,
        "reference_status": reference.status,
    }


def _member(one: Observed) -> dict[str, Any]:
    """Return a member of a front: what it was found with, and the means over its fresh replicates."""
    again = [run.objectives for run in one.fresh if run.values is not None]
    columns = {
        name: [value for run in again if (value := run[name]) is not None] for name in one.point.objectives
    }
    return {
        "trial_id": one.point.manifest.trial_id,
        "objectives": dict(one.point.objectives),
        "confirmed": {name: middle(name, "mean")(some) for name, some in columns.items()} if again else None,
        "confirmed_on": len(again),
        "fresh_failed": [run.outcome.reason for run in one.fresh if run.values is None],
    }


def _standard_error(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = fmean(values)
    spread = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(spread / len(values))


def _reference(point: Mapping[str, Any]) -> str:
    found = point.get("estimate")
    if not found:
        return ""
    status = "" if found["reference_status"] == "ok" else f" ({found['reference_status']})"
    return f", reference {_with_error(found['reference'], found['reference_se'])}{status}"


def _estimate(point: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells: estimate, difference from the reference, statuses of the trials."""
    found = point.get("estimate")
    if not found:
        return ()
    counts, n_trials = found["statuses"], sum(found["statuses"].values())
    is_mixed = len(counts) > 1
    status = f"{counts.get('ok', 0)} of {n_trials} ok" if is_mixed else next(iter(counts), "-")
    interval = _SIGMAS * math.hypot(found["se"], found["reference_se"] or 0.0)
    difference = found["value"] - found["reference"]
    # As many decimals for both as the interval needs: two digits where it begins with 1, else one. Where the
    # loss is known exactly, the interval is of rounding errors.
    is_known = _ROUNDING * max(abs(found["value"]), 1.0) < interval < math.inf
    decimals = max(0, -math.floor(math.log10(interval / 2))) if is_known else 4
    return _number(found["value"]), f"{difference:+.{decimals}f} ± {interval:.{decimals}f}", status


def _with_error(value: float | None, error: float | None) -> str:
    if value is None or not error or error < _ROUNDING * max(abs(value), 1.0):
        return _number(value)
    return f"{value:.4g} ± {error:.1g}"


def _confirmed(point: Mapping[str, Any]) -> str:
    n_ok, n_failed = point["confirmed_on"], len(point.get("fresh_failed", ()))
    if point["confirmed"] is None and not n_failed:
        return "-"
    metric = point.get("confirmed_as", point.get("leading"))
    name = "" if metric == point.get("leading") else f"{metric} "  # beside a rank
    count = f"{n_ok} of {n_ok + n_failed}" if n_failed else f"{n_ok}"
    return f"{name}{_number(point['confirmed'], digits_in(point))} (n={count})"


def _member_confirmed(member: Mapping[str, Any], digits: Mapping[str, int]) -> str:
    """Return the means of a member of a front over its fresh replicates; older files have none."""
    n_ok, n_failed = member.get("confirmed_on", 0), len(member.get("fresh_failed", ()))
    if not n_ok + n_failed:
        return "-"
    means = member["confirmed"] or {}
    count = f"{n_ok} of {n_ok + n_failed}" if n_failed else f"{n_ok}"
    return f"{', '.join(_number(means.get(name), some) for name, some in digits.items())} (n={count})"


def digits_in(point: Mapping[str, Any], name: str | None = None) -> int:
    """Return the digits of an objective, the first one unless named; older files do not have them."""
    found = point.get("digits") or {}
    return found.get(name, FEW) if name is not None else next(iter(found.values()), FEW)


def _number(value: float | None, digits: int = FEW) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def short(value: object, digits: int = FEW) -> str:
    """Return a number to some digits, anything else as text."""
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
