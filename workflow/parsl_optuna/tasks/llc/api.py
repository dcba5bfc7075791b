"""From a user's module to an estimate: the part of `parsl_optuna.api.estimate` that needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels.device import keep_memory
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.problem.centre import find_centre
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.module import pose
from parsl_optuna.tasks.llc.problem.spec import Posterior, Training
from parsl_optuna.tasks.llc.problem.target import Target, examine
from parsl_optuna.tasks.llc.samplers.auto import Params, estimate


@dataclass(frozen=True)
class Settings:
    """Arguments of `parsl_optuna.estimate_llc`, checked there."""

    n_beta: float | None
    gamma: float
    kernel: str
    relative_error: float
    polish: bool
    precision: Literal["float64", "float32"]
    seed: int


class Result(NamedTuple):
    """Metrics, and the traces ``(draws, chains)``: t (L - L0), without and with controls, and |w - w*|."""

    metrics: dict[str, Any]
    excess: Any
    controlled: Any
    distance: Any


def run(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor, Tensor],
    settings: Settings,
    deadline: Deadline,
) -> Result:
    """Examine the centre in float64, then sample in the wanted precision."""
    keep_memory()
    x, y = data
    exact = pose(model, loss, x, y, torch.float64)
    n = exact.loss.n_examples
    posterior = Posterior(gamma=settings.gamma, precision=settings.precision)
    if settings.n_beta is not None:
        posterior = Posterior(
            beta_mode="fixed", beta0=settings.n_beta / n, gamma=settings.gamma, precision=settings.precision
        )
    centre = exact.weights
    if settings.polish:
        t = n * posterior.beta(n)
        centre = find_centre(exact.loss, centre, Training(steps=0), t, settings.gamma)
    diagonal, summary = examine(exact.loss, centre, posterior, Generator().manual_seed(settings.seed))
    dtype = getattr(torch, settings.precision)
    sampled = exact if dtype == torch.float64 else pose(model, loss, x, y, dtype)
    target = Target(posterior, sampled.loss, centre.to(dtype), diagonal.to(dtype), summary)
    stream = Generator(centre.device).manual_seed(settings.seed)
    estimand, params = Estimand(target), Params(settings.kernel, settings.relative_error)
    metrics, trace = estimate(estimand, params, Stages(Checkpoint(), stream, estimand), deadline)
    if not trace.n_draws:
        nothing = torch.empty(0, 0).numpy()
        return Result(metrics, nothing, nothing, nothing)
    excess, controlled, radius = (trace.values[name].cpu() for name in ("excess", "adjusted", "radius"))
    distance = (2.0 / settings.gamma * radius).sqrt()
    return Result(metrics, excess.numpy(), controlled.numpy(), distance.numpy())
