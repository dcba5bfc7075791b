"""Whether the gradient of a loss is its slope, and the loss has no jumps, which no gradient shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from parsl_optuna.core.errors import SpecError
from parsl_optuna.kernels.device import precise
from parsl_optuna.tasks.llc.problem.examples import Examples
from parsl_optuna.tasks.llc.problem.posed import Posed

_SLOPE_STEP = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Relative to the weights; as short as rounding allows, so that kinks matter little."""

_SLOPE_TOLERANCE = {torch.float64: 0.01, torch.float32: 0.05}
"""Relative; kinks (ReLU) within a step and the third derivative are far below, a wrong gradient is above."""

_STEPS = (1.0, 0.1, 10.0, 100.0)
"""Factors on the step, at one of which slope and gradient have to agree: of a short one little is left by
rounding, and within a long one may be kinks.
"""

_NODES = 5
"""Points of Gauss-Legendre quadrature of the gradient along a path: exact for smooth losses."""

_PATHS, _PIECES, _PATH_TOLERANCE = 2, (1, 4, 16, 64), 0.05
"""Paths from w* along which a loss without jumps is the integral of its gradient, pieces that each is cut
into, and a tolerance relative to what all tensors contribute; signs in one layer leave 20 % and more."""

_DIRECTIONS = 2
"""Random ones per tensor: missing components, a fifth of the gradient in length, show in 96 % of pairs."""


class WrongLoss(SpecError):
    """A loss is no mean over examples, or its gradient is not its slope, whatever the precision."""


def value_of(posed: Posed, batch: object) -> Tensor:
    """Return the loss of a batch."""
    with torch.no_grad():
        return posed(batch)


def check_gradient(
    posed: Posed,
    live: Sequence[Tensor],
    few: Examples,
    gradients: Sequence[Tensor | None],
    precision: torch.dtype,
) -> None:
    """Compare slopes of the loss with its gradient, tensor by tensor.

    A wrong gradient of one layer is lost in the length of the whole, so each tensor is moved alone: along its
    gradient, and in random directions, since a gradient that lacks some components is right along itself.
    """
    generator = Generator("cpu").manual_seed(1)
    for w, gradient in zip(live, gradients, strict=True):
        length = _norm(gradient) if gradient is not None else 0.0
        if not w.numel():
            continue
        step = _SLOPE_STEP.get(precision, 1e-2) * (_norm(w) + 1e-3)
        directions = [gradient] if gradient is not None and length else []
        # In float32 rounding hides the slope along a direction that is hardly that of the gradient.
        for _ in range(_DIRECTIONS if precision == torch.float64 else 1 - len(directions)):
            directions.append(normal(w, generator))
        for direction in directions:
            unit = direction / max(_norm(direction), 1e-300)
            expected = 0.0 if gradient is None else float((gradient * unit).sum())
            # A random direction has a small share of every component, and as much rounding.
            share, ulps = (1.0, 10.0) if direction is gradient else (w.numel() ** -0.5, 100.0)
            allowed = _SLOPE_TOLERANCE.get(precision, 0.05) * length * share
            rounding = (ulps if precision == torch.float64 else 10.0) * torch.finfo(precision).eps / step
            slopes: list[float] = []
            for factor in _STEPS:
                slope, size = _slope(posed, w, unit, factor * step, few)
                slopes.append(slope)
                if abs(slope - expected) <= allowed + rounding * size / factor:
                    break
            else:
                raise WrongLoss(
                    f"loss: its gradient is not its slope ({expected:.3g} against {slopes[0]:.3g}): does the "
                    "model use a straight-through estimator, a stop-gradient (detach) or rounding? Sampling "
                    "needs the true gradient"
                )


def check_jumps(
    posed: Posed, live: Sequence[Tensor], before: Sequence[Tensor], few: Examples, generator: Generator
) -> None:
    """Compare differences of the loss with integrals of its gradient: a jump is in the first alone.

    Where the gradient is zero almost everywhere, as behind `torch.sign`, slopes agree with it. Kinks and
    steep places are integrated on shorter pieces, until they agree.
    """
    moves = [value.detach() - start for value, start in zip(live, before, strict=True)]
    _put(live, before, moves, 0.0)
    start = float(value_of(posed, few.batch))
    for path in range(_PATHS):
        signs = torch.randint(2, (len(moves),), generator=generator, device="cpu").mul(2).sub(1).tolist()
        turned = [move if path == 0 else sign * move for sign, move in zip(signs, moves, strict=True)]
        _put(live, before, turned, 1.0)
        end = float(value_of(posed, few.batch))
        change, said = end - start, math.nan
        rounding = 100.0 * torch.finfo(torch.float32).eps * max(abs(start), abs(end))  # float32 inside
        for pieces in _PIECES:
            shares = _integrated(posed, live, before, turned, few, pieces)
            said, allowed = float(shares.sum()), _PATH_TOLERANCE * float(shares.abs().sum()) + rounding
            if not abs(change - said) > allowed:  # nor where it is not finite
                break
        else:
            raise WrongLoss(
                f"loss: changes by {change:.3g} along a path where its gradient says {said:.3g}: does the "
                "model use sign(), rounding or comparisons (routing to the k best), at which the loss jumps? "
                "Sampling needs the gradient of all that it does: make it smooth, or sample only parameters "
                "behind the jump (parameters=)"
            )
    _put(live, before, moves, 1.0)


def _integrated(
    posed: Posed,
    live: Sequence[Tensor],
    before: Sequence[Tensor],
    moves: Sequence[Tensor],
    few: Examples,
    pieces: int,
) -> Tensor:
    """Return what each tensor's gradient says of the change of the loss along a path, ``(tensors,)``."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    shares = torch.zeros(len(moves), dtype=torch.float64, device="cpu")
    for piece in range(pieces):
        for node, weight in zip((piece + (nodes + 1.0) / 2.0) / pieces, weights / 2.0 / pieces, strict=True):
            _put(live, before, moves, float(node))
            with torch.enable_grad():
                gradients = torch.autograd.grad(posed(few.batch), list(live), allow_unused=True)
            for index, (slope, move) in enumerate(zip(gradients, moves, strict=True)):
                shares[index] += 0.0 if slope is None else float(weight) * float((slope * move).sum())
    return shares


def _put(live: Sequence[Tensor], before: Sequence[Tensor], moves: Sequence[Tensor], share: float) -> None:
    with torch.no_grad():
        for value, start, move in zip(live, before, moves, strict=True):
            value.copy_(start + share * move)


def _slope(posed: Posed, w: Tensor, direction: Tensor, step: float, few: Examples) -> tuple[float, float]:
    """Return the slope of the loss along a unit vector, over a step of that length, and its size there."""
    before, move = w.detach().clone(), step * direction
    values = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            w.copy_(before + sign * move)
            values.append(float(posed(few.batch)))
        w.copy_(before)
    return (values[0] - values[1]) / (2.0 * step), max(map(abs, values))


def normal(like: Tensor, generator: Generator) -> Tensor:
    """Return standard normal numbers of the shape of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=torch.float64, device="cpu").to(like)


def _norm(tensor: Tensor) -> float:
    return math.sqrt(float(precise(tensor.detach()).square().sum()))
