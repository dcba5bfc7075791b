"""What makes trials fail: the share that did not end ok, by hyperparameter."""

from __future__ import annotations

import pandas as pd

from parsl_optuna.report.configurations import STRATA, Frame
from parsl_optuna.report.effects import effects


def risks(rows: Frame, *, sampler_learns: bool = True) -> Frame:
    """Return the effect of every hyperparameter on the share of trials that did not end ok.

    The tables of values are over trials that ended ok; where more of a hyperparameter makes most trials fail,
    these are the lucky ones. Columns and tests are those of `effects.effects`, of the metric ``not_ok``, 0 or
    1 for a trial. Pruned trials are left out, and studies all of whose trials ended alike.

    Args:
        rows: Trials, from `configurations.flatten`.
        sampler_learns: As for `effects.effects`.
    """
    ended = rows[rows["state"] != "pruned"]
    ended = ended.assign(not_ok=(ended["state"] != "ok").astype(float), state="ok")
    if ended.empty:
        return pd.DataFrame()
    differ = ended.groupby(STRATA)["not_ok"].transform("nunique") > 1
    return effects(ended[differ], ["not_ok"], sampler_learns=sampler_learns)
