"""What a sampler declares: hyperparameters with their preset, a search space, and what to run.

Sampler files are read by commands that must be instant, so they import torch only when a trial runs
(`later`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.space import Dimension, Int

if TYPE_CHECKING:
    from parsl_optuna.core.clock import Deadline
    from parsl_optuna.kernels.chain import Trace
    from parsl_optuna.tasks.base import Metrics, Work
    from parsl_optuna.tasks.llc.engine.draw import Goal, Run
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.engine.warmup import Arrived
    from parsl_optuna.tasks.llc.problem.estimand import Estimand


@dataclass(frozen=True)
class Method:
    """A method that a study can tune.

    Attributes:
        params: Its hyperparameters, a dataclass whose defaults are the preset.
        space: ``number of examples -> dimensions`` of the default search space.
        run: ``(estimand, params, stages, work) -> metrics``.
        extends: The parameter that counts steps, if a longer run continues a shorter one.
    """

    params: type[Any]
    space: Callable[[int], dict[str, Dimension]]
    run: Callable[[Estimand, Any, Stages, Work], Metrics]
    extends: str | None = None


@dataclass(frozen=True)
class Automatic:
    """A sampler that chooses its own settings after warm-up, for the method ``auto``.

    Attributes:
        build: ``(estimand, where warm-up ended, stages, goal) -> what draws``.
        warm_up_share: Share of the budget that warm-up may take.
        is_tested: Whether energy errors are tested, so that there are acceptances.
    """

    build: Callable[[Estimand, Arrived, Stages, Goal], Run]
    warm_up_share: float
    is_tested: bool = True


@dataclass(frozen=True)
class Direct:
    """A way to the LLC without chains, for the method ``auto``.

    Attributes:
        estimate: ``(estimand, relative error, stages, deadline) -> (metrics, draws)``.
        kept_values: How many numbers are kept at most.
        work: At how many positions at once, and how many times, an estimate takes gradients at least.
    """

    estimate: Callable[[Estimand, float, Stages, Deadline], tuple[Metrics, Trace]]
    kept_values: Callable[[Estimand], int]
    work: Callable[[Estimand], tuple[int, int]]


class _Later(ModuleType):
    """A module that is imported when one of its names is first used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def later(*names: str) -> list[Any]:
    """Return modules, named below this package, that are imported when first used; ``torch`` too."""
    return [_Later(name if name == "torch" else f"parsl_optuna.{name}") for name in names]


CHAINS = Int(4, 64, log=True)
"""Numbers of chains to search: R-hat compares at least 4, and from 64 on more hardly cost less per chain."""


def batches(n: int) -> tuple[int, ...]:
    """Return minibatch sizes to search: powers of two that do not exceed *n* examples."""
    return tuple(size for size in (32, 64, 128, 256) if size <= n) or (n,)


def check_positive(record: object, *names: str) -> None:
    """Raise `SpecError` where an attribute is not above 0."""
    for name in names:
        if not getattr(record, name) > 0:
            raise SpecError(f"{name} {getattr(record, name)} must be above 0")


def check_fraction(record: object, name: str) -> None:
    """Raise `SpecError` where an attribute is not in (0, 1)."""
    if not 0 < getattr(record, name) < 1:
        raise SpecError(f"{name} {getattr(record, name)} must be between 0 and 1")
