"""How far methods are from the reference: bias, error, and whether their intervals hold what they promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from parsl_optuna.core.objective import finite
from parsl_optuna.core.records import Comparison
from parsl_optuna.report.configurations import Frame, Series, strata
from parsl_optuna.report.effects import interval

_SIGMAS = 1.96
"""Standard errors of an interval of 95 %."""

ALL, SOUND = "all", "verdict ok"


def biases(rows: Frame, names: Comparison) -> Frame:
    """Return, per problem and method, the difference of its trials from the reference.

    A row for ``all`` trials that ended ok, and one for those among them whose own verdict is ok. ``bias`` is
    their mean difference, ``low`` to ``high`` its 95 % interval (Student's t over trials), ``rmse`` the root
    of the mean squared difference, ``covered`` the share of trials whose difference is within 1.96 standard
    errors, their own and the reference's together: 0.95 where the stated errors are right.

    Args:
        rows: Trials, from `configurations.flatten`.
        names: The columns that are compared.
    """
    if not {names.value, names.reference} <= set(rows.columns):
        return pd.DataFrame()
    found: list[dict[str, Any]] = []
    for head, group in strata(rows):
        parts = [(ALL, group)]
        if "verdict" in group:
            parts.append((SOUND, group[group["verdict"] == "ok"]))
        for which, part in parts:
            entry = _compared(part, names)
            if entry is not None:
                found.append(head | {"trials_of": which} | entry)
    return pd.DataFrame(found)


def _compared(part: Frame, names: Comparison) -> dict[str, Any] | None:
    value, reference = _numbers(part, names.value), _numbers(part, names.reference)
    known = (value - reference).dropna()
    if known.empty:
        return None
    errors = np.hypot(*(_numbers(part, name).fillna(0.0).loc[known.index] for name in _errors_of(names)))
    difference = known.to_numpy(dtype=float)
    low, high = interval(difference)
    return {
        "trials": len(difference),
        "bias": float(difference.mean()),
        "low": low,
        "high": high,
        "rmse": math.sqrt(float((difference**2).mean())),
        "covered": float((np.abs(difference) <= _SIGMAS * errors).mean()),
    }


def _errors_of(names: Comparison) -> tuple[str, str]:
    return names.value_se, names.reference_se


def _numbers(part: Frame, name: str) -> Series:
    if name not in part:
        return pd.Series(math.nan, index=part.index)
    return part[name].map(finite).astype(float)
