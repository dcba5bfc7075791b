"""Pictures of a table of trials; the only importer of matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from parsl_optuna.report.configurations import Frame, Series, is_numeric, label
from parsl_optuna.store.atomic import write_bytes

mpl.use("Agg")
mpl.rcParams["text.parse_math"] = False  # a dollar in a name is a dollar

Array = npt.NDArray[Any]
_CHAINS_SHOWN = 16


class _Plain(LogFormatter):
    """Numbers at the places where `LogFormatter` has any: its own are formulas, or of one digit."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(_Plain())
    axis.set_minor_formatter(_Plain())


def convergence(trials: pd.DataFrame, path: Path, *, maximised: bool = False) -> None:
    """Draw best objective against trials ended, one panel per problem, one line per method.

    Args:
        trials: Columns ``pid, problem, method, trial_number, objective, ended``.
        path: Path of the PNG, written in one step.
        maximised: Whether more is better.
    """
    problems = list(trials.groupby("pid", sort=True))
    figure = Figure(figsize=(5.5 * max(len(problems), 1), 3.8), layout="constrained")
    axes = figure.subplots(1, max(len(problems), 1), squeeze=False)[0]
    for axis, (pid, rows) in zip(axes, problems, strict=False):
        for method, runs in rows.groupby("method", sort=True):
            ordered = runs.sort_values(["ended", "trial_id"])
            values = ordered["objective"]
            if "feasible" in ordered:
                values = values.where(ordered["feasible"].ne(False))
            best = (values.cummax() if maximised else values.cummin()).ffill().to_numpy()
            count = range(1, len(ordered) + 1)
            line = axis.step(count, best, where="post", label=str(method))[0]
            axis.plot(count, ordered["objective"], ".", color=line.get_color(), alpha=0.35)
        if bool((rows["objective"] > 0).any()) and not maximised:
            _logarithmic(axis, "y")
        axis.set_title(f"{rows['problem'].iloc[0]}\n{pid}", fontsize=9)
        axis.set_xlabel("trials ended")
        axis.set_ylabel("objective (line: best so far)")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    write_bytes(path, stream.getvalue())


def estimate_picture(excess: Array, controlled: Array, distance: Array, value: float, se: float) -> bytes:
    """Return a picture of one LLC estimate: loss trace, running estimate, distance from the centre.

    Args:
        excess: t (L - L0), ``(draws, chains)``.
        controlled: The same with control variates, of which *value* is the mean.
        distance: ``|w - w*|``, ``(draws, chains)``.
        value: The estimate.
        se: Its standard error.
    """
    figure = Figure(figsize=(12.0, 3.4), layout="constrained")
    trace, running, away = figure.subplots(1, 3)
    shown = slice(0, _CHAINS_SHOWN)
    trace.plot(excess[:, shown], linewidth=0.5, alpha=0.7)
    trace.axhline(value, color="black", linewidth=1)
    trace.set(title="t (L - L0)", xlabel="draw")
    draws = np.arange(1, len(excess) + 1)
    running.plot(draws, controlled.cumsum(0)[:, shown] / draws[:, None], linewidth=0.5, alpha=0.5)
    running.plot(draws, controlled.mean(1).cumsum() / draws, color="black", label="all chains")
    running.axhspan(value - 2 * se, value + 2 * se, alpha=0.25, label="estimate ± 2 standard errors")
    running.set(title="running estimate", xlabel="draw")
    running.legend(fontsize=8)
    away.plot(distance[:, shown], linewidth=0.5, alpha=0.7)
    away.set(title="distance from the centre", xlabel="draw")
    for axis in (trace, running, away):
        axis.grid(alpha=0.3)
    return _png(figure)


def series_picture(table: pd.DataFrame, along: str, beside: str, *, log: bool = False) -> bytes:
    """Return a picture of several LLC.

    Args:
        table: Columns *along*, *beside*, ``llc``, ``se`` and ``status``.
        along: What the horizontal axis shows.
        beside: What is drawn in gray, on an axis of its own.
        log: Whether the horizontal axis is logarithmic.
    """
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axis = figure.subplots()
    has_numbers = is_numeric(table[along])
    at = table[along] if has_numbers else pd.Series(range(len(table)))
    line = axis.errorbar(at, table["llc"], 2 * table["se"], capsize=3, label="LLC ± 2 standard errors")
    trusted = table["status"] == "ok"
    axis.plot(at[trusted], table["llc"][trusted], "o", color=line[0].get_color())
    hollow = {"markerfacecolor": "white", "markeredgecolor": line[0].get_color()}
    axis.plot(at[~trusted], table["llc"][~trusted], "o", label="status not ok", **hollow)
    axis.set(xlabel=along, ylabel="LLC")
    if log:
        _logarithmic(axis, "x")
    if not has_numbers:
        axis.set_xticks(at, table[along].astype(str), rotation=45)
    other = axis.twinx()
    other.plot(at, table[beside], color="gray", linewidth=1)
    other.set_ylabel(f"{beside} (gray)")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return _png(figure)


def effect_pictures(rows: Frame, names: Sequence[str]) -> bytes:
    """Return a picture of the objective against each hyperparameter, a colour per problem and method.

    Args:
        rows: Trials, flat, with ``hp_`` columns.
        names: Those columns.
    """
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    good = rows[(rows["state"] == "ok") & rows["objective"].notna()]
    for axis, name in zip(axes.flat, names, strict=False):
        active = good[good[name].notna()]
        numeric = is_numeric(active[name])
        for (problem, method), group in active.groupby(["problem", "method"]):
            x = group[name] if numeric else group[name].map(label)
            axis.plot(x, group["objective"], "o", ms=4, alpha=0.6, label=f"{problem}, {method}")
        axis.legend(fontsize=7)
        if numeric and good[name].min() > 0 and good[name].max() > 20 * good[name].min():
            _logarithmic(axis, "x")
        if good["objective"].min() > 0:
            _logarithmic(axis, "y")
        axis.set_xlabel(name.removeprefix("hp_"))
        axis.set_ylabel("objective")
        if not numeric:
            axis.tick_params(axis="x", labelrotation=20)
    for axis in list(axes.flat)[len(names) :]:
        axis.axis("off")
    return _png(figure)


def interaction(rows: Frame, first: str, second: str) -> bytes:
    """Return a picture of the mean objective over two hyperparameters, numbers in quartiles.

    Args:
        rows: Trials of one problem and method, flat.
        first: Column with one of them.
        second: Column with the other one.
    """
    good = rows[(rows["state"] == "ok") & rows["objective"].notna()]
    table = good.assign(a=_levels(good[first]), b=_levels(good[second])).pivot_table(
        index="a", columns="b", values="objective", aggfunc="mean", observed=True
    )
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axis = figure.subplots()
    picture = axis.imshow(table.to_numpy(), aspect="auto", cmap="viridis_r")
    axis.set_xticks(range(len(table.columns)), [str(one) for one in table.columns], rotation=30, fontsize=8)
    axis.set_yticks(range(len(table.index)), [str(one) for one in table.index], fontsize=8)
    axis.set_xlabel(second.removeprefix("hp_"))
    axis.set_ylabel(first.removeprefix("hp_"))
    figure.colorbar(picture, label="mean objective")
    axis.set_title(f"{rows['method'].iloc[0]} on {rows['problem'].iloc[0]}", fontsize=9)
    return _png(figure)


def curves(by_study: Mapping[str, Mapping[str, Series]], metric: str) -> bytes:
    """Return a picture of what trials reported, one panel per study."""
    figure = Figure(figsize=(8, 3.2 * len(by_study)), layout="constrained")
    axes = figure.subplots(len(by_study), 1, squeeze=False)
    for axis, (title, series) in zip(axes.flat, by_study.items(), strict=True):
        for values in series.values():
            axis.plot(values.index, values.to_numpy(), lw=0.8, alpha=0.7)
        if all((values > 0).all() for values in series.values()):
            _logarithmic(axis, "y")
        axis.set_title(title, fontsize=9)
        axis.set_ylabel(metric)
    axes.flat[-1].set_xlabel("step")
    return _png(figure)


def _levels(values: Series) -> Series:
    if is_numeric(values) and values.nunique() > 6:
        return pd.qcut(values, 4, duplicates="drop")
    return values.map(label)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def loss_curves(lines: Mapping[str, Sequence[float]]) -> bytes:
    """Return a picture of losses by epoch, a line per name."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    axis = figure.subplots()
    for name, values in lines.items():
        axis.plot(values, label=name)
    axis.set_xlabel("epoch")
    axis.set_ylabel("test loss")
    axis.grid(alpha=0.3)
    axis.legend()
    return _png(figure)


def sizes(
    points: Sequence[tuple[float, float, int]], front: Sequence[tuple[float, float]], best: Sequence[int]
) -> bytes:
    """Return a picture of loss against number of weights, coloured by depth, with the Pareto front."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    axis = figure.subplots()
    x, y, depth = zip(*points, strict=True)
    dots = axis.scatter(x, y, c=depth, cmap="viridis")
    axis.step(*zip(*front, strict=True), where="post", color="grey", lw=0.8, label="Pareto front")
    lowest = min(range(len(y)), key=y.__getitem__)
    axis.annotate(f"Best: {list(best)}", (x[lowest], y[lowest]), textcoords="offset points", xytext=(8, 8))
    _logarithmic(axis, "x")
    axis.set_xlabel("parameters")
    axis.set_ylabel("loss")
    axis.legend()
    figure.colorbar(dots, label="hidden layers", ticks=sorted(set(depth)))
    return _png(figure)


def latent_plane(train: Any, test: Any) -> bytes:
    """Return a picture of codes ``(n, 2)``: training rows coloured by density, test rows as triangles."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axis = figure.subplots()
    hexagons = axis.hexbin(train[:, 0], train[:, 1], gridsize=40, mincnt=1, cmap="Blues")
    axis.plot(test[:, 0], test[:, 1], "^", color="tab:red", ms=4, alpha=0.6, label=f"test ({len(test)})")
    figure.colorbar(hexagons, label=f"training rows ({len(train)})")
    axis.set_xlabel("latent 1")
    axis.set_ylabel("latent 2")
    axis.legend()
    return _png(figure)


def is_lines(values: Array) -> bool:
    """Whether an array is drawn as a line per column."""
    return values.ndim == 2 and values.shape[1] != 2 and len(values) > 1


def array_picture(values: Array, title: str) -> bytes:
    """Return a picture of an array, by its number of dimensions; see `tasks.pictures`."""
    if values.ndim in (3, 4):
        return _tiles(values)
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axis = figure.subplots()
    title, _, names = title.replace("_", " ").partition(": ")
    axis.set_title(title, fontsize=9)
    if is_lines(values):
        lines = axis.plot(values.reshape(len(values), -1), linewidth=0.7, alpha=0.8)
        if names:
            axis.legend(lines, names.split(", "), fontsize=8)
    elif values.ndim == 2:
        axis.plot(values[:, 0], values[:, 1], ".", ms=4, alpha=0.5)
    else:
        axis.bar(range(values.size), values.ravel())
    axis.grid(alpha=0.3)
    return _png(figure)


def _tiles(values: Array) -> bytes:
    """Return a picture of a table ``(rows, columns)`` of images or lines."""
    rows, columns = values.shape[:2]
    figure = Figure(figsize=(0.9 * columns, 0.9 * rows), layout="constrained")
    limits = (float(np.nanmin(values)), float(np.nanmax(values)))
    for axis, one in zip(
        figure.subplots(rows, columns, squeeze=False).flat, values.reshape(-1, *values.shape[2:]), strict=True
    ):
        axis.set_axis_off()
        if one.ndim == 2:
            axis.imshow(one, cmap="gray_r", vmin=limits[0], vmax=limits[1])
        else:
            axis.plot(one, linewidth=1)
            axis.set_ylim(*limits)
    return _png(figure)
