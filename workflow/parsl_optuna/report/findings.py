"""What an analysis comes to, in sentences: the most important one first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from parsl_optuna.core.counted import counted
from parsl_optuna.core.digits import FEW as FEW_DIGITS
from parsl_optuna.core.digits import digits_of
from parsl_optuna.report.configurations import Frame, label, strata, within
from parsl_optuna.report.effects import ADAPTIVE
from parsl_optuna.report.importance import FEW

_SIGNIFICANT = 0.05

_UNTESTED = "effects are not tested: configurations are too few to tell an effect from chance"

_CONSTANT = "effects are not tested: the metric is the same everywhere"

_MOST_PAIRS = 3
"""Clear differences and interactions that are told per problem and method; the tables have them all."""

_GOES = {"rises": "more", "falls": "fewer"}


def findings(
    rows: Frame,
    tables: Mapping[str, Frame],
    objectives: Sequence[str],
    chosen: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Return the sentences: what is best, what matters, what differs, and how trials ended.

    Args:
        rows: Trials, from `configurations.flatten`.
        tables: Those of an analysis.
        objectives: What people call them, the leading one first.
        chosen: What the run recommends, from `best.best_points`.
    """
    leading = objectives[0]
    sentences, further, quiet = [], [], Counter[str]()
    for head, group in strata(rows):
        digits = digits_of(group["objective"].astype(float))
        place, mine = f"{head['method']} on {head['problem']}", _of(tables["best"], head)
        if not mine.empty:
            sentences.append(f"{place}: {_best(mine.iloc[0], leading, digits)}")
            mine_chosen = [one for one in chosen if all(one.get(name) == head[name] for name in head)]
            further += [
                f"{place}: {one}" for one in _recommended(mine_chosen, group, mine.iloc[0], leading, digits)
            ]
            further += [f"{place}: {one}" for one in _risky(_of(tables["risks"], head))]
            further += [f"{place}: {one}" for one in _luckier(mine, leading, digits)]
        told = [*_ranking(tables, head, quiet), *_tests(tables, head, leading, quiet)]
        if told:
            further.append(f"{place}: {'; '.join(told)}.")
        further += [f"{place}: {one}" for one in _depending(_of(tables["interactions"], head), leading)]
        further += [f"{place}: {one}" for one in _on_others(tables["effects"], head)]
        further += [f"{place}: {one}" for one in _differences(tables["pairs"], head, leading)]
    of = len(sentences)
    if not sentences:
        sentences.append(_why_nothing(tables["failures"]))
    if len(objectives) > 1 and of:
        others = " and ".join(objectives[1:])
        further.append(
            f"What is best goes by {leading} alone; on the page is its Pareto front with {others}."
        )
    silent = [why if of == 1 else f"{why} ({n} of {of} studies)" for why, n in quiet.items()]
    return [*sentences, *further, *(f"{one[0].upper()}{one[1:]}." for one in silent), *_counts(rows)]


def _best(first: Mapping[str, Any], leading: str, digits: int) -> str:
    verdict = "" if first["verdict"] in ("", "ok", "good") else f" ({first['verdict']})"
    seeds = f", the mean of {first['n']} seeds" if first["n"] > 1 else ", from a single seed"
    point = f" at {first['hyperparameters']}" if first["hyperparameters"] else ""
    return f"best {leading} {cell(first['objective'], digits)}{verdict}{seeds}{point}."


def _recommended(
    chosen: Sequence[Mapping[str, Any]],
    group: Frame,
    best: Mapping[str, Any],
    leading: str,
    digits: int,
) -> list[str]:
    """Say what the run recommends: the best point's mean on fresh seeds, or which other point it is."""
    found = []
    configurations = dict(zip(group["trial_id"], group["configuration"], strict=True))
    of_best = configurations.get(best["trial"])
    for point in chosen:
        own, again = configurations.get(point["trial_id"]), point.get("confirmed")
        is_best = point["trial_id"] == best["trial"] or (own is not None and own == of_best)
        varied = "  ".join(f"{name}={value_text(one)}" for name, one in point.get("varied", {}).items())
        said = [] if is_best else [f"the run recommends {varied or point['trial_id']}"]
        if again is not None:
            seeds = counted(point["confirmed_on"], "fresh seed")
            name = point.get("confirmed_as", leading)
            said.append(f"{name} {cell(again, digits)} on {seeds} of this point")
        elif said:
            seeds = sum(one == own for one in configurations.values()) if own is not None else 1
            of = "a single trial" if seeds == 1 else f"{seeds} seeds"
            said.append(f"it goes by {leading} of {of}, {cell(point['objective'], digits)}")
        found += [f"{': '.join(said)}."] if said else []
    return found


def _risky(risks: Frame) -> list[str]:
    """Say which hyperparameters clearly make trials fail, and where."""
    clear = risks if risks.empty else risks[risks["p_holm"] < _SIGNIFICANT]
    found = []
    for _, mine in [] if clear.empty else clear.groupby("parameter", sort=False):
        worst = mine.sort_values("estimate", ascending=False, kind="stable").iloc[0]
        name, way = _told_apart(worst), _GOES.get(worst["shape"])
        if worst["kind"] != "correlation":
            found.append(f"at {name} {worst['value']}, {worst['estimate']:.0%} of the trials fail.")
        elif way is not None:
            found.append(f"the larger {name}, the {way} trials fail.")
        else:
            where = f", {worst['shape']}" if worst["shape"] else ""
            found.append(f"how many trials fail depends on {name}{where}.")
    return found


def _luckier(best: Frame, leading: str, digits: int) -> list[str]:
    """Say why a configuration of fewer seeds than the best one is not the best."""
    fewer = best[best["n"] < best["n"].max()].to_dict("records")
    return [
        f"{one['hyperparameters']} has {leading} {cell(one['objective'], digits)}, "
        f"but on {counted(one['n'], 'seed')}"
        + (f", and {counted(one['not_ok'], 'trial')} of it did not end ok" if one["not_ok"] else "")
        + ": too few to be compared."
        for one in fewer
    ]


def cell(value: object, digits: int = FEW_DIGITS) -> str:
    """Return a number to some digits, anything else as text; nothing for a missing value."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.{digits}g}"
    return str(value)


def value_text(value: object) -> str:
    """Return the value of a hyperparameter, a number to four digits."""
    return cell(value) if isinstance(value, float) else label(value)


def _why_nothing(failures: Frame) -> str:
    if failures.empty:
        return "No trial has an objective."
    first = failures.iloc[0]
    why = f"{first['state']}: {first['reason']} ({counted(first['trials'], 'trial')})"
    return f"No trial has an objective. Most often: {why}."


def _counts(rows: Frame) -> list[str]:
    counts = Counter(rows["state"])
    missed = int(rows["feasible"].eq(False).sum()) if "feasible" in rows else 0
    others = [f"{count} {state}" for state, count in counts.most_common() if state != "ok"]
    ends = ", ".join([f"{counts['ok']} ok", *others])
    found = [f"{counted(len(rows), 'trial')}: {ends}."]
    if missed:
        found.append(f"Trials that miss a constraint: {missed}; they are best only where no other trial is.")
    return found


def _of(table: Frame, head: Mapping[str, str]) -> Frame:
    """Return the rows of a problem and method, those on the leading objective where there are several."""
    if table.empty:
        return table
    mine = within(table, head)
    return mine[mine["metric"].isin(["objective", "not_ok"])] if "metric" in mine else mine


def _ranking(tables: Mapping[str, Frame], head: Mapping[str, str], quiet: Counter[str]) -> list[str]:
    """Say which hyperparameter matters most; count in *quiet* why that cannot be said."""
    importance = _of(tables["importances"], head)
    if importance.empty:
        quiet["no hyperparameter varies"] += 1
        return []
    first = importance.iloc[0]
    if not first["parameter"]:
        why = "too few configurations" if FEW in first["note"] else first["note"]
        quiet[f"no ranking of hyperparameters: {why}"] += 1
        return []
    note = f"; {first['note']}" if first["note"] else ""
    explained = f"a forest explains {first['r2']:.0%} of unseen configurations"
    return [f"{first['parameter']} matters most (importance {cell(first['importance'])}; {explained}{note})"]


def _tests(
    tables: Mapping[str, Frame], head: Mapping[str, str], leading: str, quiet: Counter[str]
) -> list[str]:
    """Say which effects are clear, and which way they go; count in *quiet* why they are not tested."""
    effect = _of(tables["effects"], head)
    if effect.empty:
        return []
    if effect["note"].eq(ADAPTIVE).any():
        quiet[f"effects are not tested: {ADAPTIVE}"] += 1
        return []
    if effect["p_holm"].isna().all():
        quiet[_CONSTANT if effect["estimate"].nunique() < 2 else _UNTESTED] += 1
        return []
    return [_clear(effect, leading)]


def _on_others(effects: Frame, head: Mapping[str, str]) -> list[str]:
    """Say which effects on further objectives are clear; those that are not stand in the table."""
    if effects.empty:
        return []
    mine = within(effects, head)
    further = mine[(mine["metric"] != "objective") & (mine["p_holm"] < _SIGNIFICANT)]
    return [f"{_clear(own, metric)}." for metric, own in further.groupby("metric", sort=False)]


def _clear(effect: Frame, metric: str) -> str:
    clear = (
        effect[effect["p_holm"] < _SIGNIFICANT].sort_values("p", kind="stable").drop_duplicates("parameter")
    )
    told = dict.fromkeys(
        _told_apart(one) + (f" ({one['shape']})" if one["shape"] else "") for one in clear.to_dict("records")
    )
    return f"clear effects on {metric} (corrected p < {_SIGNIFICANT}): {', '.join(told) or 'none'}"


def _depending(interactions: Frame, leading: str) -> list[str]:
    """Say of which two hyperparameters the effects clearly depend on each other, the clearest first."""
    if interactions.empty:
        return []
    clear = interactions[interactions["p_holm"] < _SIGNIFICANT].sort_values("p", kind="stable")
    return [
        f"the effect of {one['first']} on {leading} depends on {one['second']} "
        f"(corrected p {cell(one['p_holm'])})."
        for one in clear.head(_MOST_PAIRS).to_dict("records")
    ]


def _told_apart(effect: Mapping[str, str]) -> str:
    """Return a hyperparameter, or all of those one of which has the effect."""
    if not effect["note"]:
        return effect["parameter"]
    names = sorted([effect["parameter"], *effect["varies_with"].split(", ")])
    return f"{' or '.join(names)} (they vary only together)"


def _differences(pairs: Frame, head: Mapping[str, str], leading: str) -> list[str]:
    """Return the clear differences between two values, the largest first; a single one also if not clear."""
    mine = _of(pairs, head)
    mine = mine if mine.empty else mine[mine["seeds"] > 1]
    if mine.empty:
        return []
    clear = mine[mine["p_holm"] < _SIGNIFICANT]
    shown = clear.loc[clear["d_z"].abs().sort_values(ascending=False).index] if len(mine) > 1 else mine
    return [_difference(one, leading) for one in shown.head(_MOST_PAIRS).to_dict("records")]


def _difference(pair: Mapping[str, object], leading: str) -> str:
    interval = f"[{cell(pair['low'])}, {cell(pair['high'])}]"
    size = "" if cell(pair["d_z"]) == "" else f", d_z {cell(pair['d_z'])}, corrected p {cell(pair['p_holm'])}"
    return (
        f"{pair['parameter']} {pair['second']} against {pair['first']}, all else equal: {leading} differs by "
        f"{cell(pair['difference'])} {interval} over {pair['seeds']} seeds{size}."
    )
