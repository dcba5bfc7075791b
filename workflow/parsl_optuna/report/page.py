"""One page that holds an analysis: it needs no network, and reads on a phone and in the dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path

from parsl_optuna.report import plots
from parsl_optuna.report.analysis import Analysis, cell, strongest_pair
from parsl_optuna.report.configurations import Frame, strata, varied
from parsl_optuna.store.atomic import write_bytes

_MOST_PANELS = 12
"""Panels of a picture that can still be read."""

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --head: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th { background: var(--head); }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; background: white; }
"""

_TITLES = {
    "outcomes": "How trials went",
    "failures": "Why trials did not end ok",
    "best": "Best configurations (means over their seeds)",
    "importances": "Importance of hyperparameters (permutation in a random forest)",
    "effects": "Effect of each hyperparameter (means with 95 % intervals, or rank correlations)",
    "pairs": "Two values of one hyperparameter, all else equal (second minus first; the unit is the seed)",
}


def write(analysis: Analysis, folder: Path) -> Path:
    """Write tables as CSV, a summary in Markdown, pictures, and one page with everything; return the page."""
    pictures = _pictures(analysis)
    for name, table in analysis.tables.items():
        write_bytes(folder / f"{name}.csv", table.to_csv(index=False).encode())
    write_bytes(folder / "summary.md", _markdown(analysis).encode())
    for name, content in pictures.items():
        write_bytes(folder / f"{name}.png", content)
    page = folder / "index.html"
    write_bytes(page, _page(analysis, pictures).encode())
    return page


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
        parts += [f"## {_TITLES[name]}", "", _markdown_table(table), ""]
    return "\n".join(parts)


def _markdown_table(table: Frame) -> str:
    if table.empty:
        return "Nothing to show."
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += [
        "| " + " | ".join(cell(value).replace("|", r"\|") for value in row) + " |"
        for row in table.itertuples(index=False)
    ]
    return "\n".join(lines)


def _page(analysis: Analysis, pictures: Mapping[str, bytes]) -> str:
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Analysis</title>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<style>{_STYLE}</style><h1>Analysis</h1>",
        "<ul>" + "".join(f"<li>{html.escape(one)}</li>" for one in analysis.findings) + "</ul>",
    ]
    for name, table in analysis.tables.items():
        parts.append(f"<h2>{html.escape(_TITLES[name])}</h2>{_html_table(table)}")
    for name, content in pictures.items():
        title, data = html.escape(name.replace("_", " ")), base64.b64encode(content).decode()
        parts.append(f"<h2>{title}</h2><img alt='{title}' src='data:image/png;base64,{data}'>")
    return "\n".join(parts)


def _html_table(table: Frame) -> str:
    if table.empty:
        return "<p>Nothing to show.</p>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(value))}</td>" for value in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"
