"""Pictures of a table of trials; the only importer of matplotlib."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from workflow.store.atomic import write_bytes

mpl.use("Agg")


def convergence(trials: pd.DataFrame, path: Path) -> None:
    """Draw best objective against trials ended, one panel per problem, one line per method.

    Args:
        trials: Columns ``pid, problem, method, trial_number, objective, ended``.
        path: Of the PNG, written in one step.
    """
    problems = list(trials.groupby("pid", sort=True))
    figure = Figure(figsize=(5.5 * max(len(problems), 1), 3.8), layout="constrained")
    axes = figure.subplots(1, max(len(problems), 1), squeeze=False)[0]
    for axis, (pid, rows) in zip(axes, problems, strict=False):
        for method, runs in rows.groupby("method", sort=True):
            ordered = runs.sort_values(["ended", "trial_id"])
            best = ordered["objective"].cummin().ffill().to_numpy()
            count = range(1, len(ordered) + 1)
            line = axis.step(count, best, where="post", label=str(method))[0]
            axis.plot(count, ordered["objective"], ".", color=line.get_color(), alpha=0.35)
        if bool((rows["objective"] > 0).any()):
            axis.set_yscale("log")
        axis.set_title(f"{rows['problem'].iloc[0]}\n{pid}", fontsize=9)
        axis.set_xlabel("trials ended")
        axis.set_ylabel("objective (line: best so far)")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    write_bytes(path, stream.getvalue())
