"""The analysis of a results folder: tables, pictures, one page that holds them all."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from parsl_optuna.core.errors import SpecError
from parsl_optuna.report import effects
from parsl_optuna.report.effects import Frame, Series
from parsl_optuna.report.tables import objectives_of, read
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.store.progress import reports
from parsl_optuna.study.search.importance import importances

_MOST_CURVES = 40
_SHOWN = 5

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0;font-size:13px}td,th{padding:.2rem .7rem;text-align:right;
border-bottom:1px solid #ddd}th{background:#f4f4f4}img{max-width:100%}td:first-child,th:first-child
{text-align:left}"""


@dataclass(frozen=True)
class Analysis:
    """Tables by name, and curves by problem.

    Attributes:
        tables: Name -> table.
        curves: Metric -> ``problem, method`` -> trial id -> reported values over steps.
        rows: All trials, flat.
    """

    tables: Mapping[str, Frame]
    curves: Mapping[str, Mapping[str, Mapping[str, Series]]]
    rows: Frame


def analyse(table: Path, store: ArtifactStore) -> Analysis:
    """Answer the usual questions of a table of trials.

    Args:
        table: A parquet that a run wrote.
        store: The artifacts it came from; curves are left out where they are not there.

    Raises:
        SpecError: There is no trial to analyse.
    """
    arrow = read(table)
    rows = effects.flatten(arrow.to_pandas())
    if rows.empty or not rows["objective"].notna().any():
        raise SpecError(f"{table}: no trial has an objective; nothing to analyse")
    metrics = ["objective", *(name for name in objectives_of(arrow)[1:] if name in rows.columns)]
    tables = {
        "outcomes": effects.outcomes(rows),
        "best": _best(rows),
        "importances": _importances(rows, metrics),
        "effects": effects.effects(rows, metrics),
        "pairs": effects.pairs(rows, metrics),
    }
    return Analysis(tables, _curves(rows, metrics[1:], store), rows)


def write(analysis: Analysis, pictures: Mapping[str, bytes], folder: Path) -> Path:
    """Write every table as CSV, a Markdown summary, and one page with everything; return the page."""
    for name, table in analysis.tables.items():
        write_bytes(folder / f"{name}.csv", table.to_csv(index=False).encode())
    write_bytes(folder / "summary.md", _markdown(analysis).encode())
    for name, content in pictures.items():
        write_bytes(folder / f"{name}.png", content)
    page = folder / "index.html"
    write_bytes(page, _page(analysis, pictures).encode())
    return page


_TITLES = {
    "outcomes": "How trials went",
    "best": "Best trials",
    "importances": "Importance of hyperparameters (PED-ANOVA, shares)",
    "effects": "Effect of each hyperparameter (means with 95 % intervals, or rank correlations)",
    "pairs": "Pairs that differ in one thing only (second minus first value)",
}


def _markdown(analysis: Analysis) -> str:
    parts = ["# Analysis", ""]
    for name, table in analysis.tables.items():
        parts += [f"## {_TITLES[name]}", "", _markdown_table(table), ""]
    return "\n".join(parts)


def _markdown_table(table: Frame) -> str:
    if table.empty:
        return "Nothing to show."
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += [
        "| " + " | ".join(_cell(value) for value in row) + " |" for row in table.itertuples(index=False)
    ]
    return "\n".join(lines)


def _page(analysis: Analysis, pictures: Mapping[str, bytes]) -> str:
    parts = ["<!doctype html><meta charset=utf-8><title>Analysis</title>", f"<style>{_STYLE}</style>"]
    parts.append("<h1>Analysis</h1>")
    for name, table in analysis.tables.items():
        parts.append(f"<h2>{html.escape(_TITLES[name])}</h2>{_html_table(table)}")
    for name, content in pictures.items():
        data = base64.b64encode(content).decode()
        parts.append(
            f"<h2>{html.escape(name.replace('_', ' '))}</h2><img src='data:image/png;base64,{data}'>"
        )
    return "\n".join(parts)


def _html_table(table: Frame) -> str:
    if table.empty:
        return "<p>Nothing to show.</p>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)


def _best(rows: Frame) -> Frame:
    """Return the best trials of every study with what varies in it."""
    good = rows[(rows["state"] == "ok") & rows["objective"].notna()]
    found = []
    for (problem, method), group in good.groupby(["problem", "method"]):
        names = effects.varied(group)
        for _, row in group.sort_values("objective").head(_SHOWN).iterrows():
            point = "  ".join(f"{name[3:]}={_cell(row[name])}" for name in names)
            found.append(
                {"problem": problem, "method": method, "trial": row["trial_id"],
                 "objective": row["objective"], "hyperparameters": point}
            )  # fmt: skip
    return pd.DataFrame(found)


def _importances(rows: Frame, metrics: Sequence[str]) -> Frame:
    found = []
    good = rows[rows["state"] == "ok"]
    for (problem, method), group in good.groupby(["problem", "method"]):
        for metric in metrics:
            known = group[group[metric].notna()]
            names = effects.varied(known)
            plain = [{name[3:]: _plain(row[name]) for name in names} for _, row in known.iterrows()]
            for name, share in importances(plain, known[metric].astype(float).tolist()).items():
                found.append(
                    {
                        "problem": problem,
                        "method": method,
                        "metric": metric,
                        "parameter": name,
                        "share": share,
                    }
                )
    return pd.DataFrame(found)


def _plain(value: object) -> object:
    """Return numpy's scalars as Python's, and a missing value as None."""
    value = value.item() if hasattr(value, "item") else value  # type: ignore[union-attr]
    return None if value != value else value


def _curves(
    rows: Frame, others: Sequence[str], store: ArtifactStore
) -> dict[str, dict[str, dict[str, Series]]]:
    """Read what trials reported: the metric that they have first, and further objectives."""
    found: dict[str, dict[str, dict[str, Series]]] = {}
    for (problem, method), group in rows.groupby(["problem", "method"]):
        for _, row in group.sort_values("objective").head(_MOST_CURVES).iterrows():
            told = reports(store.paths.progress(row["pid"], row["method"], row["trial_id"]))
            first = [next(iter(told[0].metrics))] if told and told[0].metrics else []
            for metric in dict.fromkeys([*first, *others]):
                values = {report.step: report.metrics.get(metric) for report in told}
                known = {step: value for step, value in values.items() if isinstance(value, (int, float))}
                if len(known) > 1:
                    study = found.setdefault(metric, {}).setdefault(f"{problem}, {method}", {})
                    study[row["trial_id"]] = pd.Series(known, dtype=float)
    return found
