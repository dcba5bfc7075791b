"""What a run logs, as lines of JSON in the file that this package reads. Also used beside the real wandb."""

from __future__ import annotations

import fnmatch
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KINDS = ("min", "max", "mean", "first", "last", "best")


class Recorder:
    """Collects what belongs to one step, and writes it when the step is complete.

    Attributes:
        step: The current step.
        summary: Last values by flat name, or what `define` asks for.
    """

    def __init__(self) -> None:
        self.step = 0
        self.summary: dict[str, Any] = {}
        self._held: dict[str, Any] = {}
        self._defined: dict[str, tuple[list[str], str]] = {}
        self._seen: dict[str, dict[str, float]] = {}

    def log(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> bool:
        """Take what is logged; return False for a step before the current one, which W&B ignores."""
        if step is not None and step < self.step:
            return False
        if step is not None and step != self.step:
            self.flush()
            self.step = step
        self._held |= flat(data)
        if commit or (commit is None and step is None):
            self.flush()
            self.step += 1
        return True

    def set_summary(self, data: Mapping[str, Any]) -> None:
        """Write values that belong to no step."""
        values = flat(data)
        self.summary |= values
        if values:
            _write({"_summary": values})

    def define(self, name: str, summary: str | None, goal: str | None) -> None:
        """Have the summary of a metric, or of all that a pattern names, be another than its last value."""
        kinds = [kind.strip() for kind in (summary or "").split(",") if kind.strip() in _KINDS]
        if kinds:
            self._defined[name] = (kinds, goal or "minimize")

    def flush(self) -> None:
        """Write the current step, if it holds anything."""
        if not self._held:
            return
        self.summary |= self._held
        for name, value in self._held.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
                self._see(name, value)
        _write({**self._held, "_step": self.step})
        self._held = {}

    def finish(self) -> None:
        """Write the last step, and summaries that are not last values."""
        self.flush()
        found: dict[str, Any] = {}
        for name, seen in self._seen.items():
            kinds, goal = self._asked(name)
            for kind in reversed(kinds):
                where = _BEST.get(goal, "min") if kind == "best" else kind
                value = seen["sum"] / seen["n"] if kind == "mean" else seen[where]
                found[f"{name}.{kind}"] = found[name] = value
        self.set_summary(found)
        self._seen = {}

    def _see(self, name: str, value: float) -> None:
        seen = self._seen.setdefault(
            name, {"min": value, "max": value, "first": value, "last": value, "sum": 0.0, "n": 0.0}
        )
        seen["min"], seen["max"], seen["last"] = min(seen["min"], value), max(seen["max"], value), value
        seen["sum"] += value
        seen["n"] += 1

    def _asked(self, name: str) -> tuple[list[str], str]:
        for pattern, asked in self._defined.items():
            if pattern == name or (pattern.endswith("*") and fnmatch.fnmatchcase(name, pattern)):
                return asked
        return [], ""


_BEST = {"minimize": "min", "maximize": "max"}


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return numbers, texts and truth values by flat name; mappings in mappings get dots, as at W&B."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            plain = _plain(value)
            if plain is not None:
                found[f"{prefix}{name}"] = plain
    return found


def _plain(value: Any) -> bool | int | float | str | None:
    if isinstance(value, (bool, int, float, str)):
        return value
    try:
        item = value.item()  # a number of numpy, torch, jax …
    except Exception:
        return None
    return item if isinstance(item, (bool, int, float, str)) else None


def _write(data: dict[str, Any]) -> None:
    path = os.environ.get("PARSL_OPTUNA_WANDB_LOG")
    if path:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(data) + "\n")
