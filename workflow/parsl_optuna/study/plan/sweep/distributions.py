"""The parameters of a W&B sweep: how each is drawn, listed, or searched. Pure."""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.ids import without_exact_form
from parsl_optuna.core.space import Categorical, Dimension, Float, Int

_BOUNDED = ("uniform", "int_uniform", "q_uniform", "log_uniform", "log_uniform_values", "q_log_uniform",
            "q_log_uniform_values", "inv_log_uniform", "inv_log_uniform_values")  # fmt: skip
_KEYS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    **{name: ("min", "max", *(("q",) if name.startswith("q_") else ())) for name in _BOUNDED},
    "normal": ("mu", "sigma"),
    "q_normal": ("mu", "sigma", "q"),
    "log_normal": ("mu", "sigma"),
    "q_log_normal": ("mu", "sigma", "q"),
    "beta": ("a", "b"),
    "q_beta": ("a", "b", "q"),
}
_DEFAULTS = {"q": 1, "mu": 0.0, "sigma": 1.0, "a": 1.0, "b": 1.0}
_WIDE = 3.0
"""A search looks at so many standard deviations of a normal parameter to either side."""

_MOST_EXPONENT = 700.0
"""The largest double is exp(709.78)."""

_MOST_LISTED = 1_000_000
"""A list of more values takes more memory than a plan may."""

_MOST_VALUES = 1000
"""A search looks at so many steps of a quantised parameter at most, spread over its range."""


@dataclass(frozen=True)
class Distribution:
    """One parameter.

    Attributes:
        name: Of the distribution.
        values: Of a constant or categorical one; JSON of any kind.
        numbers: Its other keys: bounds, ``q``, ``mu``, ``probabilities`` …
    """

    name: str
    values: tuple[Any, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_constant(self) -> bool:
        """Whether it has one value."""
        return len(self.values) == 1

    @functools.cached_property  # a plan asks for it at every point
    def is_json(self) -> bool:
        """Whether hyperparameters hold its texts, lists, mappings and uncommon numbers as JSON texts."""
        return any(isinstance(value, (dict, list)) or without_exact_form(value) for value in self.values)

    def draw(self, stream: random.Random) -> Any:
        """Return a random value."""
        if self.values:
            return stream.choices(self.values, self.numbers.get("probabilities"))[0]
        value = _DRAWS[self.name.removeprefix("q_")](stream, self.numbers)
        return quantised(value, self.numbers["q"]) if "q" in self.numbers else value

    def listed(self, where: str) -> Sequence[Any]:
        """Return all values, for a grid.

        Raises:
            SpecError: It has no list of values.
        """
        if self.is_constant or (self.values and self.name != "categorical_w_probabilities"):
            return distinct(self.values)
        if self.name == "int_uniform":
            return range(self.numbers["min"], self.numbers["max"] + 1)
        if self.name == "q_uniform":
            low, high, step = (self.numbers[key] for key in ("min", "max", "q"))
            count = math.ceil((high - low) / step)
            if count > _MOST_LISTED:
                raise SpecError(f"{where}: {count:,} values are too many for a grid; take a larger q")
            # As W&B lists them by numpy.arange: steps from min, not multiples of q, to the last digit.
            is_real = any(isinstance(one, float) for one in (low, high, step))
            first, delta = (float(low), low + step - low) if is_real else (low, step)
            return [first + i * delta for i in range(count)]
        raise SpecError(
            f"{where}: a grid cannot list '{self.name}'; give values, or take method random or bayes"
        )

    def dimension(self, where: str) -> Dimension:
        """Return it as a dimension of a search.

        Raises:
            SpecError: It cannot be searched.
        """
        if self.values:
            return Categorical(tuple(scalar(value, self) for value in distinct(self.values)))
        low, high, log = _range(self)
        if "q" not in self.numbers:
            return Int(int(low), int(high)) if self.name == "int_uniform" else Float(low, high, log)
        step = self.numbers["q"]
        if isinstance(step, int) and not (log and step > 1):
            return Int(round(low / step) * step, round(high / step) * step, step, log)
        first, last = math.ceil(low / step - 0.5), math.floor(high / step + 0.5)
        return Categorical(tuple(quantised(index * step, step) for index in _spread(first, last, log)))


def distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return each value once, as W&B counts them: 1 and 1.0 are the same, and the last one written stands."""
    found: dict[str, Any] = {}
    for value in values:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        found[json.dumps(whole, sort_keys=True, default=repr)] = value
    return tuple(found.values())


def _spread(first: int, last: int, log: bool) -> list[int]:
    """Return the whole numbers from *first* to *last*, or as many as a search can tell apart."""
    count = last - first + 1
    if count <= _MOST_VALUES:
        return list(range(first, last + 1))
    shares = (index / (_MOST_VALUES - 1) for index in range(_MOST_VALUES))
    if not log:
        return [first + round(share * (last - first)) for share in shares]
    start = max(first, 1)
    return sorted({round(start * (last / start) ** share) for share in shares})


def scalar(value: Any, one: Distribution | None) -> Any:
    """Return a value as hyperparameters hold it: see `Distribution.is_json`."""
    as_text = isinstance(value, (dict, list))
    if one is not None and one.is_json:
        as_text |= isinstance(value, str) or without_exact_form(value) is not None
    return json.dumps(value) if as_text else value


def quantised(value: float, q: float) -> float | int:
    """Return *value* rounded to a multiple of *q*, whole when *q* is."""
    steps = round(value / q)
    # 3 * 0.1 is 0.30000000000000004: as many digits as the step has are meant.
    return steps * q if isinstance(q, int) else round(steps * q, 12)


def parse(raw: Any, where: str) -> Distribution:
    """Read the spec of a parameter; what is not said is implied as W&B implies it.

    Raises:
        SpecError: All that is wrong with it.
    """
    if not isinstance(raw, Mapping):
        hint = "{value: 1} or {min: 0.0, max: 1.0}"
        if raw is not None:
            hint = f"{{{'values' if isinstance(raw, list) else 'value'}: {raw}}}"
        raise SpecError(f"{where}: must be a mapping such as {hint}")
    keys = dict(raw)
    name = keys.pop("distribution", None) or _implied(keys, where)
    if not isinstance(name, str) or name not in _KEYS:
        raise SpecError(f"{where}.distribution: unknown '{name}'; {nearest(str(name), _KEYS)}")
    for key in keys:
        if key not in _KEYS[name]:
            raise SpecError(f"{where}.{key}: does not go with {name}; {nearest(str(key), _KEYS[name])}")
    missing = [key for key in _KEYS[name] if key not in keys and key not in _DEFAULTS]
    if missing:
        raise SpecError(f"{where}: {name} needs {missing[0]}")
    if name == "constant":
        return Distribution(name, (keys["value"],))
    if "values" in keys:
        return _categorical(name, keys, where)
    numbers = {key: keys.get(key, _DEFAULTS.get(key)) for key in _KEYS[name]}
    _check(name, numbers, where)
    return Distribution(name, (), numbers)


def _implied(keys: Mapping[str, Any], where: str) -> str:
    if "value" in keys:
        return "constant"
    if "values" in keys:
        return "categorical_w_probabilities" if "probabilities" in keys else "categorical"
    if "min" in keys or "max" in keys:
        whole = isinstance(keys.get("min"), int) and isinstance(keys.get("max"), int)
        return "int_uniform" if whole else "uniform"
    if "mu" in keys or "sigma" in keys:
        return "normal"
    raise SpecError(f"{where}: give value, values, or min and max")


def _categorical(name: str, keys: Mapping[str, Any], where: str) -> Distribution:
    values = keys["values"]
    if not isinstance(values, list) or not values:
        raise SpecError(f"{where}.values: must be a list with at least one value")
    weights = keys.get("probabilities")
    if weights is None:
        return Distribution(name, tuple(values))
    fits = isinstance(weights, list) and len(weights) == len(values) and all(map(_is_share, weights))
    if not fits or not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
        raise SpecError(f"{where}.probabilities: must be {len(values)} numbers whose sum is 1")
    return Distribution(name, tuple(values), {"probabilities": weights})


def _is_share(weight: Any) -> bool:
    return isinstance(weight, (int, float)) and not isinstance(weight, bool) and weight >= 0


def _check(name: str, numbers: Mapping[str, Any], where: str) -> None:
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SpecError(f"{where}.{key}: must be a number, got {value!r}")
    if "min" in numbers and numbers["min"] > numbers["max"]:
        raise SpecError(f"{where}: min {numbers['min']} is above max {numbers['max']}; swap them")
    if name == "int_uniform" and not all(isinstance(value, int) for value in numbers.values()):
        raise SpecError(f"{where}: int_uniform needs whole numbers")
    if name.endswith("log_uniform_values") and numbers["min"] <= 0:
        raise SpecError(f"{where}.min: {numbers['min']} must be above 0 on a log scale")
    for key in ("q", "sigma", "a", "b"):
        if key in numbers and not numbers[key] > 0:
            raise SpecError(f"{where}.{key}: {numbers[key]} must be above 0")
    if not all(map(math.isfinite, numbers.values())):
        raise SpecError(f"{where}: its numbers must be finite")
    inexact = without_exact_form(numbers)
    if inexact is not None:
        cure = "" if name != "int_uniform" else "; bounds such as 0.0 make it a real one"
        raise SpecError(f"{where}: {inexact.partition(';')[0]}{cure}")
    highest = _largest_exponent(name, numbers)
    if highest > _MOST_EXPONENT:
        raise SpecError(f"{where}: {name} takes exponents, and exp({highest:g}) is beyond all numbers; "
                        f"for values themselves take {name.removesuffix('_values')}_values")  # fmt: skip


def _largest_exponent(name: str, numbers: Mapping[str, Any]) -> float:
    kind = name.removeprefix("q_")
    if kind in ("log_uniform", "inv_log_uniform"):
        return max(numbers["max"], -numbers["min"]) if kind.startswith("inv") else numbers["max"]
    return numbers["mu"] + 10 * numbers["sigma"] if kind == "log_normal" else 0.0


def _range(one: Distribution) -> tuple[float, float, bool]:
    """Return the bounds of a search, and whether on a log scale."""
    kind, n = one.name.removeprefix("q_"), one.numbers
    if kind in ("uniform", "int_uniform"):
        return n["min"], n["max"], False
    if kind == "log_uniform":
        return math.exp(n["min"]), math.exp(n["max"]), True
    if kind == "log_uniform_values":
        return n["min"], n["max"], True
    if kind == "inv_log_uniform":
        return math.exp(-n["max"]), math.exp(-n["min"]), True
    if kind == "inv_log_uniform_values":
        return n["min"], n["max"], True
    if kind == "beta":
        return 0.0, 1.0, False
    low, high = n["mu"] - _WIDE * n["sigma"], n["mu"] + _WIDE * n["sigma"]
    return (low, high, False) if kind == "normal" else (math.exp(low), math.exp(high), True)


_DRAWS: dict[str, Callable[[random.Random, Mapping[str, Any]], float]] = {
    "uniform": lambda stream, n: stream.uniform(n["min"], n["max"]),
    "int_uniform": lambda stream, n: stream.randint(n["min"], n["max"]),
    "log_uniform": lambda stream, n: math.exp(stream.uniform(n["min"], n["max"])),
    "log_uniform_values": lambda stream, n: math.exp(stream.uniform(math.log(n["min"]), math.log(n["max"]))),
    "inv_log_uniform": lambda stream, n: math.exp(-stream.uniform(n["min"], n["max"])),
    "inv_log_uniform_values": lambda stream, n: math.exp(
        -stream.uniform(math.log(1 / n["max"]), math.log(1 / n["min"]))
    ),
    "normal": lambda stream, n: stream.gauss(n["mu"], n["sigma"]),
    "log_normal": lambda stream, n: math.exp(stream.gauss(n["mu"], n["sigma"])),
    "beta": lambda stream, n: stream.betavariate(n["a"], n["b"]),
}
