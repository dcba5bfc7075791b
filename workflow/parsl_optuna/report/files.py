"""Writes an analysis as files: tables as CSV, a summary in Markdown, pictures as PNG."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from parsl_optuna.report import plots
from parsl_optuna.report.analysis import Analysis, strongest_pair
from parsl_optuna.report.configurations import Frame, strata, varied
from parsl_optuna.report.findings import cell
from parsl_optuna.store.atomic import write_bytes

TITLES = {
    "outcomes": "Outcomes",
    "failures": "Why trials did not end ok",
    "risks": "Share of trials that did not end ok, by hyperparameter (means, or rank correlations)",
    "best": "Best configurations (means over their seeds)",
    "bias": "Differences from the reference (95 % intervals; covered: share within 1.96 stated errors)",
    "importances": "Importance of hyperparameters (permutation in a random forest)",
    "effects": "Effect of each hyperparameter (means with 95 % intervals, or rank correlations)",
    "interactions": "Does the effect of one hyperparameter depend on another? (F-test in a linear model)",
    "levels": "Each value: median and quartiles over configurations, spread over seeds",
    "pairs": "Two values of one hyperparameter, all else equal (second minus first; the unit is the seed)",
    "transfer": "What is best on one problem, on another (configurations that both have)",
}

_NOTHING = "no trial ended ok"

_NONE_VARIES = "no hyperparameter varies among the trials of a problem and method that ended ok"

_WHY_EMPTY = {
    "failures": "every trial ended ok",
    "risks": "no study has trials that ended ok and others that did not, or no hyperparameter varies in one",
    "best": "no trial that ended ok has an objective",
    "bias": "no trial that ended ok has a reference",
    "importances": _NONE_VARIES,
    "effects": _NONE_VARIES,
    "interactions": "no two hyperparameters vary together, or configurations are too few for a model of both",
    "levels": "no hyperparameter with at most eight values varies among the trials that ended ok",
    "pairs": "no two trials that ended ok differ in one hyperparameter alone",
    "transfer": "no method has two configurations on several problems",
}

_STUDY = ("problem", "method")
_EFFECT = (
    *(*_STUDY, "metric", "parameter", "kind", "value", "n", "estimate", "low", "high"),
    *("varies_with", "note", "shape", "p", "p_holm"),
)
_PAIR = ("metric", "parameter", "note", "first", "second", "seeds", "matches", "difference", "low", "high")

COLUMNS = {
    "outcomes": (*_STUDY, "how", "trials"),
    "failures": ("method", "state", "reason", "trials"),
    "risks": _EFFECT,
    "best": (*_STUDY, "trial", "objective", "n", "not_ok", "verdict", "hyperparameters"),
    "bias": (*_STUDY, "trials_of", "trials", "bias", "low", "high", "rmse", "covered"),
    "importances": (*_STUDY, "metric", "parameter", "importance", "r2", "note"),
    "effects": _EFFECT,
    "interactions": (*_STUDY, "first", "second", "configurations", "share", "f", "df", "p", "note", "p_holm"),
    "levels": (
        *(*_STUDY, "parameter", "value", "trials", "ok", "configurations", "median", "low", "high"),
        *("sd_seeds", "seconds", "verdicts"),
    ),
    "pairs": (*_STUDY, *_PAIR, "d_z", "p_t", "p_wilcoxon", "p_holm"),
    "transfer": ("method", "chosen_on", "tried_on", "configurations", "value", "best", "rank", "rho"),
}
"""Of each table: a file without rows has its header, so that what reads it does not stop there."""

_MOST_PANELS = 12
"""Panels of a picture that can still be read."""

_PICTURES = ("objective_by_hyperparameter*.png", "interaction.png", "curves_of_*.png")


def write(analysis: Analysis, folder: Path) -> None:
    """Write the files of an analysis; those of an earlier one that it has not are removed."""
    pictures = {f"{name}.png": content for name, content in _pictures(analysis).items()}
    for name, table in analysis.tables.items():
        shown = pd.DataFrame(columns=pd.Index(COLUMNS[name])) if table.empty else table
        write_bytes(folder / f"{name}.csv", shown.to_csv(index=False).encode())
    write_bytes(folder / "summary.md", _markdown(analysis).encode())
    for name, content in pictures.items():
        write_bytes(folder / name, content)
    tables = [folder / f"{name}.csv" for name in TITLES if name not in analysis.tables]
    for old in (*tables, *(path for pattern in _PICTURES for path in folder.glob(pattern))):
        if old.name not in pictures:
            old.unlink(missing_ok=True)


def why_empty(analysis: Analysis, name: str) -> str:
    """Say why a table of the analysis has no rows."""
    is_about_values = name not in ("outcomes", "failures", "risks")
    return _NOTHING if is_about_values and not analysis.rows["state"].eq("ok").any() else _WHY_EMPTY[name]


def _pictures(analysis: Analysis) -> dict[str, bytes]:
    pictures = {}
    names = list(dict.fromkeys(name for _, group in strata(analysis.rows) for name in varied(group)))
    for start in range(0, len(names), _MOST_PANELS):
        number = f"_{start // _MOST_PANELS + 1}" if len(names) > _MOST_PANELS else ""
        shown = names[start : start + _MOST_PANELS]
        pictures[f"objective_by_hyperparameter{number}"] = plots.effect_pictures(analysis.rows, shown)
    pair = strongest_pair(analysis)
    if pair is not None:
        pictures["interaction"] = plots.interaction(*pair)
    for metric, by_study in analysis.curves.items():
        pictures[f"curves_of_{metric.replace('/', '_')}"] = plots.curves(by_study, metric)
    return pictures


def _markdown(analysis: Analysis) -> str:
    parts = ["# Analysis", "", *(f"- {one}" for one in analysis.findings), ""]
    for name, table in analysis.tables.items():
        shown = f"Left out: {why_empty(analysis, name)}." if table.empty else _markdown_table(table)
        parts += [f"## {TITLES[name]}", "", shown, ""]
    return "\n".join(parts)


def _markdown_table(table: Frame) -> str:
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += [
        "| " + " | ".join(cell(value).replace("|", r"\|") for value in row) + " |"
        for row in table.itertuples(index=False)
    ]
    return "\n".join(lines)
