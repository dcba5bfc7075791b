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
        is_disabled: Whether the run is one of mode ``disabled``, which counts where there is no other.
    """

    def __init__(self) -> None:
        self.step = 0
        self.summary: dict[str, Any] = {}
        self.is_disabled = False
        self._held: dict[str, Any] = {}
        self._defined: dict[str, tuple[list[str], str]] = {}
        self._seen: dict[str, dict[str, float]] = {}
        self._given: set[str] = set()
        """Names whose summary the program wrote itself: from then on their last value counts, as at W&B."""

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
        self._given |= values.keys()
        self._set_summary(values)

    def define(
        self, name: str, summary: str | None, goal: str | None, overwrite: bool | None = False
    ) -> None:
        """Have the summary of a metric, or of all that a pattern names, be another than its last value.

        Definitions of a name add up, unless one overwrites, or asks for none.
        """
        asked = [kind.strip() for kind in (summary or "").split(",")]
        kinds = [kind for kind in asked if kind in _KINDS]
        is_new = overwrite or "none" in asked
        before, goal_before = ([], "") if is_new else self._defined.get(name, ([], ""))
        self._defined[name] = ([*dict.fromkeys([*before, *kinds])], goal or goal_before or "minimize")

    def flush(self) -> None:
        """Write the current step, if it holds anything."""
        if not self._held:
            return
        self.summary |= self._held
        for name, value in self._held.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._see(name, value)
        self._write({**self._held, "_step": self.step})
        self._held = {}

    def finish(self) -> None:
        """Write the last step, and summaries that are not last values."""
        self.flush()
        found: dict[str, Any] = {}
        for name, seen in self._seen.items():
            kinds, goal = ([], "") if name in self._given else self._asked(name)
            for kind in reversed(kinds):
                where = _BEST.get(goal, "min") if kind == "best" else kind
                value = seen["sum"] / seen["n"] if kind == "mean" else seen[where]
                found[f"{name}.{kind}"] = found[name] = value
        self._set_summary(found)
        self._seen = {}

    def _set_summary(self, values: dict[str, Any]) -> None:
        self.summary |= values
        if values:
            self._write({"_summary": values})

    def _write(self, data: dict[str, Any]) -> None:
        _write({**data, "_disabled": True} if self.is_disabled else data)

    def _see(self, name: str, value: float) -> None:
        seen = self._seen.setdefault(
            name, {"min": value, "max": value, "first": value, "last": value, "sum": 0.0, "n": 0.0}
        )
        is_nan = math.isnan(value) or math.isnan(seen["min"])  # which it stays, as at W&B
        seen["min"] = math.nan if is_nan else min(seen["min"], value)
        seen["max"] = math.nan if is_nan else max(seen["max"], value)
        seen["last"] = value
        seen["sum"] += value
        seen["n"] += 1

    def _asked(self, name: str) -> tuple[list[str], str]:
        """Return kinds and goal: of the name itself, else of the first pattern that asks for some."""
        if name in self._defined:
            return self._defined[name]
        fits = (one for one in self._defined if one.endswith("*") and fnmatch.fnmatchcase(name, one))
        return next((self._defined[one] for one in fits if self._defined[one][0]), ([], ""))


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
