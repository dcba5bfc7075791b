"""Finding w*: Adam on the full data, then a second-order polish down to a gradient tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.tasks.llc.problem.curvature import EXACT_LIMIT, hessian
from parsl_optuna.tasks.llc.problem.losses import Loss
from parsl_optuna.tasks.llc.problem.spec import Training

_NEGLIGIBLE = 1e-12
"""A predicted change of t L below this, in units of the LLC, is not worth a step."""


def find_centre(
    loss: Loss,
    start: Tensor,
    training: Training,
    t: float = 1.0,
    gamma: float = 0.0,
    deadline: Deadline = Deadline(),  # noqa: B008
) -> Tensor:
    """Return a minimiser ``(dim,)`` of the loss near where Adam leads from *start* ``(dim,)``.

    An overparametrised network may have none at a finite distance. The polish therefore also ends
    where a Newton step would lower ``t L`` by less than 1e-12, and damps by ``gamma / t``: along
    directions that the localiser rules anyway, it does not travel.

    Args:
        loss: The loss.
        start: First weights.
        training: Steps and tolerances.
        t: n beta of the posterior around the centre.
        gamma: Its localiser.
        deadline: When it passes, the best weights so far are returned.
    """
    w = _adam(loss, start, training)
    if loss.dim > EXACT_LIMIT:
        return _lbfgs(loss, w, training, deadline)
    with suppress(Expired):
        for better in _newton(loss, w, training, max(gamma / t, 1e-12), t, deadline):
            w = better
    return w


def gradient_norm(loss: Loss, w: Tensor) -> float:
    """Return the Euclidean norm of the gradient at *w* ``(dim,)``."""
    return float(loss.value_and_grad(w.unsqueeze(0))[1].norm())


def _adam(loss: Loss, start: Tensor, training: Training) -> Tensor:
    if not training.steps:  # a first optimizer takes torch seconds of imports
        return start
    w = start.clone().unsqueeze(0)
    optimizer = torch.optim.Adam([w], lr=training.lr)
    for _ in range(training.steps):
        _, w.grad = loss.value_and_grad(w)
        optimizer.step()
    return w[0]


def _newton(
    loss: Loss, start: Tensor, training: Training, floor: float, t: float, deadline: Deadline
) -> Iterator[Tensor]:
    """Yield the steps of damped Newton on |eigenvalues|, so that saddles repel; each lowers the loss."""
    w, damping = start, max(1e-3, floor)
    value, gradient = (part[0] for part in loss.value_and_grad(w.unsqueeze(0)))
    for _ in range(training.polish_steps):
        if float(gradient.norm()) <= training.gradient_tolerance:
            break
        eigenvalues, basis = torch.linalg.eigh(hessian(loss, w, deadline))
        components = basis.T @ gradient
        decrement = 0.5 * t * float((components.square() / (eigenvalues.abs() + floor)).sum())
        if decrement < _NEGLIGIBLE:
            break
        while damping < 1e12:
            step = basis @ (components / (eigenvalues.abs() + damping))
            candidate = w - step
            new_value, new_gradient = (part[0] for part in loss.value_and_grad(candidate.unsqueeze(0)))
            if bool(new_value <= value) and bool(torch.isfinite(new_value)):
                break
            damping *= 4.0
        else:
            break  # no step lowers the loss: a kink, or the limit of the arithmetic
        w, value, gradient = candidate, new_value, new_gradient
        damping = max(damping / 10.0, floor)
        yield w


def _lbfgs(loss: Loss, start: Tensor, training: Training, deadline: Deadline) -> Tensor:
    """Return the lowest point that L-BFGS-B finds; torch's optimizers take seconds to import a compiler."""
    from scipy.optimize import minimize  # noqa: PLC0415  only large networks need it

    lowest, best = math.inf, start

    def evaluate(point: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        nonlocal lowest, best
        deadline.check()
        w = torch.from_numpy(point).to(start)
        value, gradient = (part[0] for part in loss.value_and_grad(w.unsqueeze(0)))
        if float(value) <= lowest:
            lowest, best = float(value), w.clone()
        return float(value), gradient.double().cpu().numpy()

    options = {
        "maxiter": 10 * training.polish_steps,
        "maxcor": 50,
        "gtol": training.gradient_tolerance,
        "ftol": 0.0,
    }
    with suppress(Expired):
        minimize(evaluate, start.double().cpu().numpy(), jac=True, method="L-BFGS-B", options=options)
    return best
