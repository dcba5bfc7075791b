"""How samplers know by how much a trial misses its constraints: by attributes of Optuna's trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

_KEY = "constraints"
_IS_NAMED = hasattr(FrozenTrial, "constraints")
"""Whether constraints have names; up to Optuna 4 they are a list, and samplers ask a function for it."""

_MISSED = 1.0
"""Stands for a miss by an unknown amount, as where the metric is missing: Optuna's models need numbers, and
beside a large one its Gaussian process sees no difference among the others."""

_UNKNOWN = "parsl_optuna:missed by an unknown amount"
"""Attribute with the names of the constraints for which that number stands."""


def attributes(violations: Mapping[str, float], *, is_pruned: bool = False) -> dict[str, Any]:
    """Return the attributes of a trial that tell samplers of its violations, by constraint.

    A pruned trial may not have come to what a constraint is about; then nothing is known of it.
    """
    known = {name: value for name, value in violations.items() if math.isfinite(value) or not is_pruned}
    finite = {name: value if math.isfinite(value) else _MISSED for name, value in known.items()}
    keys = dict(zip(finite, finite if _IS_NAMED else map(str, range(len(finite))), strict=True))
    unknown = {_UNKNOWN: [keys[name] for name in finite if not math.isfinite(known[name])]}
    if _IS_NAMED:
        return {**{f"{_KEY}:{name}": value for name, value in finite.items()}, **unknown}
    return {_KEY: list(finite.values()), **unknown} if finite else {}


def of(trial: FrozenTrial) -> dict[str, float]:
    """Return by how much a trial misses its constraints, by name; ``inf`` where that is not known.

    Up to Optuna 4 constraints are a list among its attributes, and have numbers for names.
    """
    if _IS_NAMED:
        found = dict(trial.constraints)
    else:
        found = {str(i): value for i, value in enumerate(trial.system_attrs.get(_KEY) or ())}
    return found | dict.fromkeys(trial.system_attrs.get(_UNKNOWN) or (), math.inf)


def parameters(known: Sequence[str]) -> dict[str, Callable[[FrozenTrial], Sequence[float]]]:
    """Return what makes a sampler with *known* parameters read these attributes."""
    return {} if _IS_NAMED or "constraints_func" not in known else {"constraints_func": _stored}


def _stored(trial: FrozenTrial) -> Sequence[float]:
    return tuple(trial.system_attrs.get(_KEY) or ())
