"""The samplers: every file of this folder declares a `METHOD`, an `AUTOMATIC`, or both.

To add one, write ``kernels/x.py`` and ``tasks/llc/samplers/x.py``; nothing else names it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import structure, unstructure
from parsl_optuna.core.space import Scalar, Space
from parsl_optuna.tasks.llc.samplers.base import Automatic, Direct, Method


def _modules() -> dict[str, ModuleType]:
    names = [found.name for found in pkgutil.iter_modules(__path__) if found.name != "base"]
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def methods() -> dict[str, Method]:
    """Return the methods by name."""
    return {name: module.METHOD for name, module in _modules().items() if hasattr(module, "METHOD")}


def automatic() -> dict[str, Automatic | Direct]:
    """Return the samplers of the method ``auto`` by name."""
    return {name: module.AUTOMATIC for name, module in _modules().items() if hasattr(module, "AUTOMATIC")}


def complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    """Fill *params* with the method's preset and check every name and type; the same for all problems.

    Raises:
        SpecError: Unknown method or parameter, wrong type, or a value out of range.
    """
    del problem
    return unstructure(structure(_method(method, f"{where}: ").params, params, where))


def parse(method: str, params: Mapping[str, Scalar]) -> Any:
    """Turn complete params into the method's record."""
    return structure(_method(method).params, dict(params), method)


def space(problem: Mapping[str, Any], method: str) -> Space:
    """Return the default search space of a method; minibatches never exceed the data."""
    n = int(problem["data"]["n_data"]) if problem else 10**9  # without a problem, the widest
    return Space(_method(method).space(n))


def _method(name: str, prefix: str = "") -> Method:
    found = methods()
    if name not in found:
        raise SpecError(f"{prefix}no method '{name}'; {nearest(name, found)}")
    return found[name]
