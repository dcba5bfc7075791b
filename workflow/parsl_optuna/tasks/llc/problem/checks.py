"""What a loss must be for an LLC to mean anything: one finite number, reproducible, a mean over examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.autograd.graph import Node

from parsl_optuna.core.clock import Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import Examples
from parsl_optuna.tasks.llc.problem.posed import Posed, quiet, unaccelerated_attention

_ROWS = 96
"""Random examples that are looked at: enough that rare classes and masks show."""

_CHUNKS = (1, 2, 3, 5, 8, 13, 21, 43)
"""Of so many examples; unequal, since a mean of equal chunks hides a wrong denominator."""

_ORDERS = 4
"""In so many orders of the examples: in one order of 300 a sum over a mask is a mean to 2e-5, by chance."""

_TOLERANCE = {torch.float64: 5e-6, torch.float32: 2e-4}
"""Relative; what sums in another order may differ by, with room for badly conditioned models, and in float64
for those that compute in float32 inside. A sum over what a mask leaves is off by 1e-4 and more."""

_SLOPE_STEP = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Relative to the weights; as short as rounding allows, so that kinks matter little."""

_SLOPE_TOLERANCE = {torch.float64: 0.01, torch.float32: 0.05}
"""Relative; kinks (ReLU) within a step and the third derivative are far below, a wrong gradient is above."""

_NODES = 5
"""Points of Gauss-Legendre quadrature of the gradient along a path: exact for smooth losses."""

_PATHS, _PIECES, _PATH_TOLERANCE = 2, (1, 4, 16, 64), 0.05
"""Paths from w* along which a loss without jumps is the integral of its gradient, pieces that each is cut
into, and a tolerance relative to what all tensors contribute; signs in one layer leave 20 % and more."""

_DIRECTIONS = 2
"""Random ones per tensor: missing components, a fifth of the gradient in length, show in 96 % of pairs."""

_PERTURBED = 0.1
"""Perturbation relative to the mean size of a parameter tensor: at w* itself a loss of 0 hides a sum."""


def check(posed: Posed, live: Sequence[nn.Parameter], examples: Examples, original: nn.Module) -> list[str]:
    """Check the loss at perturbed weights, on random examples; leave the weights as they were.

    Args:
        posed: The loss.
        live: The sampled parameters of its model.
        examples: The data, as the loss takes them.
        original: The user's model, whose parameters the loss must not use.

    Returns:
        Notes for the reader of the result.

    Raises:
        SpecError: The loss is not one number, not finite, random, independent of the parameters, or not a
            mean.
    """
    generator = Generator().manual_seed(0)
    rows = torch.randperm(examples.n, generator=generator)[:_ROWS]
    few = Examples(examples.rows(rows), len(rows))
    before = [parameter.detach().clone() for parameter in live]
    with quiet(), unaccelerated_attention():
        _check_number(_value(posed, few.batch), examples.n)
        try:
            _perturb(posed, live, before, few, generator)
            _check_reproducible(posed, few)
            notes = _check_dependence(posed, live, few, original)
            _check_jumps(posed, live, before, few, generator)
            _check_mean(posed, few, before[0].dtype, generator)
        finally:
            with torch.no_grad():
                for parameter, value in zip(live, before, strict=True):
                    parameter.copy_(value)
    return notes


class WrongLoss(SpecError):
    """A loss is no mean over examples, or its gradient is not its slope, whatever the precision."""


def _value(posed: Posed, batch: object) -> Tensor:
    with torch.no_grad():
        return posed(batch)


def _check_number(value: object, n: int) -> None:
    if not isinstance(value, Tensor):
        raise SpecError(
            f"loss: returns a {type(value).__name__}; it must return one number as a tensor, the mean"
        )
    if value.ndim:
        raise SpecError(
            f"loss: returns a tensor of shape {tuple(value.shape)}; it must be one number, the mean"
        )
    if not value.is_floating_point():
        raise SpecError(f"loss: returns {value.dtype}; it must be a real floating-point number")
    if not math.isfinite(float(value)):
        raise SpecError(
            f"loss: {float(value)} at the weights of the model; it must be finite on all of {n} examples"
        )


def _perturb(
    posed: Posed, live: Sequence[Tensor], before: Sequence[Tensor], few: Examples, generator: Generator
) -> None:
    """Move the weights to where the loss is finite, and not at a minimum."""
    scale = _PERTURBED
    for _ in range(8):
        with torch.no_grad():
            for parameter, value in zip(live, before, strict=True):
                size = float(value.abs().mean()) if value.numel() else 0.0
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
                parameter.copy_(value + scale * (size + 0.1) * noise)
        if math.isfinite(float(_value(posed, few.batch))):
            return
        scale *= 0.1
    raise SpecError(
        "loss: not finite at weights close to those of the model; the posterior cannot be sampled there"
    )


def _check_reproducible(posed: Posed, few: Examples) -> None:
    values = [float(_value(posed, few.batch)) for _ in range(2)]
    if values[0] != values[1] and not math.isclose(*values, rel_tol=1e-5):
        raise SpecError(
            f"loss: {values[0]:.6g} and then {values[1]:.6g} at the same weights and examples; it must not "
            "be random "
            "(dropout that ignores eval(), noise, sampling), nor remember earlier calls"
        )


def _check_dependence(posed: Posed, live: Sequence[Tensor], few: Examples, original: nn.Module) -> list[str]:
    """Refuse a loss that does not depend on the sampled parameters, or on the user's own copy of them."""
    with torch.enable_grad():
        value = posed(few.batch)
    theirs = list(original.parameters())  # kept: a ScriptModule makes them when it is asked
    ids = {id(parameter) for parameter in theirs}
    if any(id(variable) in ids for variable in _leaves(value)):
        raise SpecError(
            "loss: uses parameters of the model outside of its arguments, which would stay fixed; take "
            "(model, batch) "
            "and use that model"
        )
    gradients: Sequence[Tensor | None] = [None]
    if value.requires_grad:
        gradients = torch.autograd.grad(value, list(live), allow_unused=True)
    unused = [index for index, gradient in enumerate(gradients) if gradient is None]
    if len(unused) == len(live) or not value.requires_grad:
        raise SpecError(
            "loss: does not depend on the sampled parameters; does the model or the loss use detach(), "
            "no_grad(), "
            "argmax or .item()?"
        )
    if all(gradient is None or not bool(gradient.any()) for gradient in gradients):
        raise SpecError("loss: is constant close to the weights of the model: its gradient is zero there")
    names = {id(parameter): name for name, parameter in posed.model.named_parameters()}
    computed_in = torch.float32 if _casts(value) else live[0].dtype
    _check_gradient(posed, live, few, list(gradients), computed_in)
    silent = [names[id(live[index])] for index in unused]
    return [f"parameters without effect on the loss: {', '.join(silent)}"] if silent else []


def _check_gradient(
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
    generator = Generator().manual_seed(1)
    for w, gradient in zip(live, gradients, strict=True):
        length = _norm(gradient) if gradient is not None else 0.0
        if not w.numel():
            continue
        step = _SLOPE_STEP.get(precision, 1e-2) * (_norm(w) + 1e-3)
        directions = [gradient] if gradient is not None and length else []
        # In float32 rounding hides the slope along a direction that is hardly that of the gradient.
        for _ in range(_DIRECTIONS if precision == torch.float64 else 1 - len(directions)):
            directions.append(torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w))
        for direction in directions:
            unit = direction / max(_norm(direction), 1e-300)
            expected = 0.0 if gradient is None else float((gradient * unit).sum())
            slope, size = _slope(posed, w, unit, step, few)
            # A random direction has a small share of every component, and as much rounding.
            share, ulps = (1.0, 10.0) if direction is gradient else (w.numel() ** -0.5, 100.0)
            rounding = (
                (ulps if precision == torch.float64 else 10.0) * torch.finfo(precision).eps * size / step
            )
            if abs(slope - expected) > _SLOPE_TOLERANCE.get(precision, 0.05) * length * share + rounding:
                raise WrongLoss(
                    f"loss: its gradient is not its slope ({expected:.3g} against {slope:.3g}): does the "
                    "model use a straight-through estimator, a stop-gradient (detach) or rounding? Sampling "
                    "needs the true gradient"
                )


def _check_jumps(
    posed: Posed, live: Sequence[Tensor], before: Sequence[Tensor], few: Examples, generator: Generator
) -> None:
    """Compare differences of the loss with integrals of its gradient: a jump is in the first alone.

    Where the gradient is zero almost everywhere, as behind `torch.sign`, slopes agree with it. Kinks and
    steep places are integrated on shorter pieces, until they agree.
    """
    moves = [value.detach() - start for value, start in zip(live, before, strict=True)]
    _put(live, before, moves, 0.0)
    start = float(_value(posed, few.batch))
    for path in range(_PATHS):
        signs = torch.randint(2, (len(moves),), generator=generator).mul(2).sub(1).tolist()
        turned = [move if path == 0 else sign * move for sign, move in zip(signs, moves, strict=True)]
        _put(live, before, turned, 1.0)
        end = float(_value(posed, few.batch))
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
                "model use sign(), rounding or comparisons, at which the loss jumps? Sampling needs the "
                "gradient of all that it does"
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
    shares = torch.zeros(len(moves), dtype=torch.float64)
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


def _norm(tensor: Tensor) -> float:
    return math.sqrt(float(tensor.detach().double().square().sum()))


def _leaves(value: Tensor) -> list[Tensor]:
    """Return the variables that a value was computed from."""
    variables = (getattr(node, "variable", None) for node in _nodes(value))
    return [variable for variable in variables if variable is not None]


def _casts(value: Tensor) -> bool:
    """Tell whether a value was computed with changes of precision, as by a model that calls float()."""
    return any(node.name() == "ToCopyBackward0" for node in _nodes(value))


def _nodes(value: Tensor) -> list[Node]:
    """Return what autograd recorded of a computation."""
    todo, seen = [value.grad_fn], dict[Node, None]()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen[node] = None
        todo += [following for following, _ in node.next_functions]
    return list(seen)


def _check_mean(posed: Posed, few: Examples, dtype: torch.dtype, generator: Generator) -> None:
    """Compare the loss of some examples with the mean of those of unequal chunks of them."""
    if few.n < 2:
        return
    together = float(_value(posed, few.batch))
    for _ in range(_ORDERS):
        order = torch.randperm(few.n, generator=generator)
        parts = _parts(posed, Examples(few.rows(order), few.n))
        apart = sum(size * part for size, part in parts) / few.n
        scale = max(abs(together), sum(size * abs(part) for size, part in parts) / few.n)
        if math.isfinite(apart) and abs(together - apart) <= _TOLERANCE.get(dtype, 2e-4) * scale + 1e-12:
            continue
        raise WrongLoss(
            f"loss: {together:.6g} on {few.n} examples together but {apart:.6g} as the mean of chunks of "
            f"them; it must be a mean over examples{_cure(posed, few)}"
        )


def _parts(posed: Posed, few: Examples) -> list[tuple[int, float]]:
    """Return size and loss of the chunks of some examples."""
    parts, done = [], 0
    for size in _CHUNKS:
        size = min(size, few.n - done)
        try:
            part = float(_value(posed, few.rows(slice(done, done + size))))
        except Expired:
            raise
        except Exception as error:
            raise SpecError(
                f"loss: fails on {size} examples, though not on {few.n}: {type(error).__name__}: "
                f"{str(error).strip().splitlines()[0][:120] if str(error).strip() else ''}; it must take "
                "any number"
            ) from error
        parts.append((size, part))
        done += size
        if done == few.n:
            break
    return parts


def _cure(posed: Posed, few: Examples) -> str:
    """Say why a loss may be no mean, and what would be right."""
    loss = posed.loss
    if getattr(loss, "reduction", "mean") == "sum":
        return " (reduction='mean')"
    if getattr(loss, "weight", None) is not None:
        return (
            ": class weights are divided by their sum in the batch; give a function of (outputs, y) that "
            "returns "
            "cross_entropy(outputs, y, weight=w, reduction='none').mean()"
        )
    if posed.calling.form == "outputs":
        with torch.no_grad():
            outputs = posed.outputs(few.batch[0])
        y = few.batch[1]
        if isinstance(outputs, Tensor) and isinstance(y, Tensor) and outputs.shape != y.shape:
            ours, theirs = tuple(outputs.shape), tuple(y.shape)
            if outputs.squeeze().shape == y.squeeze().shape:
                return (
                    f": outputs of shape {ours} and y of shape {theirs} are broadcast against one "
                    "another; reshape y"
                )
    return (
        " (reduction='mean'); divide by the number of examples, not by the sum of weights or the number of "
        "unmasked "
        "entries of the batch"
    )
