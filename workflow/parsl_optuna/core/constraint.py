"""Constraints on metrics: what a result has to meet besides being good. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from parsl_optuna.core.errors import Mistakes, SpecError

_FORM = re.compile(r"\s*(<=|>=|==)\s*(.*?)\s*")
_CURES = {
    "<": "write <=",
    ">": "write >=",
    "=<": "write <=",
    "=>": "write >=",
    "=": "write ==",
    "!=": "there is no such sign",
    "≤": "write <=",
    "≥": "write >=",
}
_EXAMPLE = "such as '<= 16', '>= 0.9' or '== ok'"


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, or the one text that it must be.

    Attributes:
        metric: Name of a metric; ``runtime_sec`` is one.
        sign: ``<=``, ``>=``, or ``==``, which goes with texts, true and false.
        limit: What the metric is compared with.
    """

    metric: str
    sign: str
    limit: float | str | bool

    @property
    def text(self) -> str:
        """The constraint as people write it, which `parse` reads."""
        limit = self.limit
        if isinstance(limit, bool):
            limit = str(limit).lower()
        elif isinstance(limit, float) and limit.is_integer():
            limit = int(limit)
        return f"{self.metric} {self.sign} {limit}"

    def violation(self, values: Mapping[str, Any]) -> float:
        """Return by how much a trial misses the bound: at most 0 where it is met, ``inf`` without the metric.

        Another text than the one that is asked for misses by 1.
        """
        value = values.get(self.metric)
        if self.sign == "==":
            return (
                math.inf
                if value is None
                else float(type(value) is not type(self.limit) or value != self.limit)
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
            return math.inf
        assert isinstance(self.limit, float)
        return float(value) - self.limit if self.sign == "<=" else self.limit - float(value)


def parse(metric: str, text: Any) -> Constraint:
    """Read a bound as it is written behind a metric's name.

    Raises:
        SpecError: It has another form.
    """
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        first = re.match(r"\s*([<>=!≤≥]+)", text) if isinstance(text, str) else None
        cure = _CURES.get(first[1], "") if first else ""
        raise SpecError(f"must be a sign and a value, {_EXAMPLE}, got {text!r}{'; ' if cure else ''}{cure}")
    sign, limit = found.groups()
    if not limit:
        raise SpecError(f"has no value behind {sign}; write it {_EXAMPLE}")
    number = _number(limit)
    if sign == "==":
        if number is not None:
            raise SpecError(
                f"'{text}': two numbers are hardly ever equal; give one bound with <=, one with >="
            )
        return Constraint(metric, sign, {"true": True, "false": False}.get(limit, limit))
    if number is None or not math.isfinite(number):
        raise SpecError(f"'{text}': the bound must be a finite number")
    return Constraint(metric, sign, number)


def parse_whole(text: Any) -> Constraint:
    """Read ``metric sign value``.

    Raises:
        SpecError: It has another form.
    """
    found = re.fullmatch(r"\s*(.*?)\s*([<>=!≤≥]+.*)", text) if isinstance(text, str) else None
    if found is None or not found[1]:
        raise SpecError(f"must be a metric, a sign and a value, such as 'memory_gb <= 16', got {text!r}")
    return parse(found[1], found[2])


def parse_all(raw: Any) -> tuple[Constraint, ...]:
    """Read ``{metric: bound or list of bounds}``, or a list of ``metric sign value``.

    Raises:
        SpecError: All mistakes, each with its key.
    """
    if isinstance(raw, Mapping):
        entries = [
            (f".{metric}", str(metric), text)
            for metric, texts in raw.items()
            for text in (texts if isinstance(texts, (list, tuple)) else [texts])
        ]
    elif isinstance(raw, (list, tuple)):
        entries = [(f"[{index}]", None, text) for index, text in enumerate(raw)]
    else:
        raise SpecError(f"constraints must be a mapping such as {{memory_gb: <= 16}}, got {raw!r}")
    mistakes, found = Mistakes(), []
    for place, metric, text in entries:
        try:
            found.append(parse_whole(text) if metric is None else parse(metric, text))
        except SpecError as error:
            mistakes.add(f"constraints{place}: {error}")
    mistakes.raise_any()
    return tuple(dict.fromkeys(found))


def excess(violations: Iterable[float]) -> float:
    """Return by how much constraints are violated in all; 0 where every one is met."""
    return sum(one for one in violations if one > 0)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
