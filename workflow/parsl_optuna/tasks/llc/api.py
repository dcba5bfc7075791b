"""From a user's module to an estimate: the part of `parsl_optuna.api.estimate` that needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor, nn

from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.kernels.device import keep_memory
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.problem.centre import find_centre
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.examples import Examples, read
from parsl_optuna.tasks.llc.problem.pose import PosedLoss, pose
from parsl_optuna.tasks.llc.problem.selection import Selection, select
from parsl_optuna.tasks.llc.problem.spec import Posterior, Training
from parsl_optuna.tasks.llc.problem.target import Target, examine
from parsl_optuna.tasks.llc.samplers.auto import Params, estimate

Precision = Literal["float64", "float32"]


@dataclass(frozen=True)
class Settings:
    """Arguments of `parsl_optuna.estimate_llc`."""

    n_beta: float | None
    gamma: float
    kernel: str
    relative_error: float
    polish: bool
    precision: Precision
    seed: int
    parameters: Any = None

    def __post_init__(self) -> None:
        for name in ("gamma", "relative_error", "n_beta"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SpecError(f"{name} {value} must be a number above 0")
        if self.precision not in get_args(Precision):
            raise SpecError(
                f"precision {self.precision!r}: {nearest(str(self.precision), get_args(Precision))}"
            )
        Params(self.kernel, self.relative_error)  # raises where it cannot be


class Result(NamedTuple):
    """Metrics, and the traces ``(draws, chains)``: t (L - L0), without and with controls, and |w - w*|."""

    metrics: dict[str, Any]
    excess: Any
    controlled: Any
    distance: Any


def run(
    model: nn.Module, loss: Callable[..., Tensor], data: Any, settings: Settings, deadline: Deadline
) -> Result:
    """Read the data, examine the centre in float64, then sample in the wanted precision."""
    keep_memory()
    selection, examples = select(model, settings.parameters), read(data, deadline)
    exact, precision, notes = _posed(model, loss, examples, selection, settings.precision)
    n = exact.loss.n_examples
    posterior = Posterior(gamma=settings.gamma, precision=precision)
    if settings.n_beta is not None:
        posterior = Posterior(
            beta_mode="fixed", beta0=settings.n_beta / n, gamma=settings.gamma, precision=precision
        )
    centre = exact.weights
    if settings.polish:
        t = n * posterior.beta(n)
        centre = find_centre(exact.loss, centre, Training(steps=0), t, settings.gamma)
    diagonal, summary = examine(exact.loss, centre, posterior, Generator().manual_seed(settings.seed))
    dtype = getattr(torch, precision)
    sampled = exact if dtype == exact.weights.dtype else pose(model, loss, examples, selection, dtype)
    target = Target(posterior, sampled.loss, centre.to(dtype), diagonal.to(dtype), summary)
    stream = Generator(centre.device).manual_seed(settings.seed)
    estimand, params = Estimand(target), Params(settings.kernel, settings.relative_error)
    metrics, trace = estimate(estimand, params, Stages(Checkpoint(), stream, estimand), deadline)
    metrics |= {
        "parameters": selection.dim,
        "parameters_held": selection.total - selection.dim,
        "precision": precision,
        "chains": sampled.chains,
        "notes": list(dict.fromkeys([*examples.notes, *sampled.notes, *notes])),
    }
    if not trace.n_draws:
        nothing = torch.empty(0, 0).numpy()
        return Result(metrics, nothing, nothing, nothing)
    excess, controlled, radius = (trace.values[name].cpu() for name in ("excess", "adjusted", "radius"))
    distance = (2.0 / settings.gamma * radius).sqrt()
    return Result(metrics, excess.numpy(), controlled.numpy(), distance.numpy())


def _posed(
    model: nn.Module,
    loss: Callable[..., Tensor],
    examples: Examples,
    selection: Selection,
    precision: Precision,
) -> tuple[PosedLoss, Precision, list[str]]:
    """Pose the loss in float64, or in float32 where the user's code allows nothing else.

    Returns:
        The loss, the precision to sample in, and what to tell about it.
    """
    try:
        return pose(model, loss, examples, selection, torch.float64), precision, []
    except SpecError as error:
        try:
            single = pose(model, loss, examples, selection, torch.float32)
        except SpecError:
            raise error from None
        return single, "float32", [f"all in float32, since float64 fails: {error}"]
