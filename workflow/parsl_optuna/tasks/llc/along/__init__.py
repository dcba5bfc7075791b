"""The LLC of a user's model along its training: every checkpoint is a trial. No torch before one runs."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import structure, unstructure
from parsl_optuna.core.space import Scalar, Space
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Task
from parsl_optuna.tasks.llc.problem.spec import check_device
from parsl_optuna.tasks.llc.samplers import auto
from parsl_optuna.tasks.llc.samplers.base import check_positive

METHOD = "auto"


@dataclass(frozen=True)
class Written:
    """A problem as written.

    Attributes:
        model: ``path/to/file.py:name`` of a function that returns model, loss and data.
    """

    model: str


@dataclass(frozen=True)
class Params:
    """A checkpoint, and how its LLC is estimated.

    Attributes:
        checkpoint: Its file, from the folder in which the command was started.
        digest: First 16 hex digits of the file's SHA-256.
        kernel: As in `parsl_optuna.estimate_llc`, like all that follow.
        relative_error: Wanted standard error over LLC.
        gamma: Precision of the localization prior.
        n_beta: Factor on the loss; null is n / ln n.
        polish: Whether to move the weights to a stationary point first.
        precision: Of the sampler.
        device: As of the command ``estimate``; null is that of the model.
    """

    checkpoint: str = ""
    digest: str = ""
    kernel: str = "langevin"
    relative_error: float = 0.005
    gamma: float = 1.0
    n_beta: float | None = None
    polish: bool = False
    precision: Literal["float64", "float32"] = "float64"
    device: str | None = None

    def __post_init__(self) -> None:
        auto.Params(self.kernel, self.relative_error)  # raises where it cannot be
        check_positive(self, "gamma", *(("n_beta",) if self.n_beta is not None else ()))
        if self.device is not None:
            check_device(self.device, self.precision)


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Find the function; it is not called, nor its file imported."""
    written = structure(Written, raw, where)
    name, _, function = written.model.rpartition(":")
    if not name or not function:
        raise SpecError(
            f"{where}: '{written.model}' must be FILE.py:NAME, a function that returns model, loss, data"
        )
    path, digest = source.hashed(name, where)
    known = _functions(path, where)
    if function not in known:
        raise SpecError(f"{where}: no function '{function}' in {name}; {nearest(function, known)}")
    return {"function": f"{source.relative(path)}:{function}", "checksum": digest}


def _functions(path: Path, where: str) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"{where}: {path} is no Python: {error}") from error
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    """Fill in the defaults."""
    del problem
    if method != METHOD:
        raise SpecError(f"{where}: no method '{method}'; the only one is {METHOD}")
    return unstructure(structure(Params, params, where))


def _nothing(problem: Mapping[str, Any], method: str) -> Space:
    del problem, method
    return Space()


TASK = Task(
    name="parsl_optuna.tasks.llc.along:TASK",
    version=3,  # `ok` is tried by chains that begin elsewhere
    resolve=resolve,
    methods=(METHOD,),
    complete=complete,
    space=_nothing,
    run="parsl_optuna.tasks.llc.along.run:run",
    metric="llc_hat",
    columns={
        "llc_hat": "float",
        "se_hat": "float",
        "status": "str",
        "status_reason": "str",
        "L0": "float",
        "gamma": "float",
    },
)
