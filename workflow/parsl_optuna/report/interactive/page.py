"""Makes the page: content, style, program and the plotting library in one file that needs no network."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, fields
from functools import cache
from importlib import resources
from pathlib import Path

from parsl_optuna.core.clock import utc_now
from parsl_optuna.report.interactive.content import Content
from parsl_optuna.store.atomic import write_bytes

_PARTS = ("charts.js", "questions.js", "table.js", "page.js")


def write(content: Content, path: Path) -> None:
    """Write the page in one step."""
    write_bytes(path, _page(content).encode())


def _page(content: Content) -> str:
    data = {one.name: getattr(content, one.name) for one in fields(content)}  # asdict would copy every trial
    data["comparison"] = content.comparison and asdict(content.comparison)
    sections = "".join(
        f"<section><h2>{html.escape(title)}</h2>{body}</section>" for title, body in data.pop("sections")
    )
    data["written"] = utc_now()
    # "<" within text must not end the script element.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    head, tail = _frame()
    return (
        f"{head.replace('TITLE', html.escape(content.title), 1)}"
        f'<script type="application/json" id="data">{text}</script>\n'
        f"{tail.replace('<!-- analysis -->', sections, 1)}"
    )


@cache
def _frame() -> tuple[str, str]:
    """Return what comes before and after the data; it is the same in every page."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415  a quarter of a second

    head, tail = _resource("page.html").split("<!-- data -->")
    program = "\n".join(_resource(name) for name in _PARTS)
    head = head.replace("/* style */", _resource("page.css"))
    tail = tail.replace("/* library */", get_plotlyjs()).replace("/* program */", program)
    return head, tail


def _resource(name: str) -> str:
    return resources.files("parsl_optuna.report.interactive").joinpath(name).read_text(encoding="utf-8")
