"""Whether what is good on one problem is good on another one."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
from scipy import stats as _stats

from parsl_optuna.report.configurations import Frame, means, strata
from parsl_optuna.report.effects import LEAST_FOR_RANKS

stats: Any = _stats  # as in `effects`


def transfer(rows: Frame, metric: str, *, more_is_better: bool) -> Frame:
    """Return a row per method and ordered pair of problems.

    ``value`` is what the best configuration of the problem ``chosen_on`` comes to on ``tried_on``, ``best``
    the best value there, both among the ``configurations`` that have results on both, each the mean of its
    seeds. ``rank`` says how many of these are at least as good there. ``rho`` is the rank correlation of
    Spearman of the two problems' values.

    Args:
        rows: Trials, from `configurations.flatten`.
        metric: Column by which configurations are chosen.
        more_is_better: Whether a larger value is better.
    """
    sign = -1.0 if more_is_better else 1.0
    by_method: dict[str, dict[str, Any]] = {}
    for head, group in strata(rows):
        units = means(group, metric)
        if len(units):
            by_method.setdefault(head["method"], {})[head["problem"]] = units["y"]
    found: list[dict[str, Any]] = []
    for method, by_problem in by_method.items():
        for first, second in itertools.permutations(by_problem, 2):
            both: Frame = pd.concat(
                [by_problem[first], by_problem[second]], axis=1, join="inner", keys=["first", "second"]
            )
            if len(both) < 2:
                continue
            there = both["second"]
            value = float(there.loc[(sign * both["first"]).idxmin()])
            entry: dict[str, Any] = {"method": method, "chosen_on": first, "tried_on": second}
            entry |= {"configurations": len(both), "value": value, "best": float(sign * (sign * there).min())}
            entry["rank"] = int((sign * there <= sign * value).sum())
            varies = len(both) >= LEAST_FOR_RANKS and both.nunique().min() > 1
            entry["rho"] = float(stats.spearmanr(both["first"], there).statistic) if varies else float("nan")
            found.append(entry)
    return pd.DataFrame(found)
