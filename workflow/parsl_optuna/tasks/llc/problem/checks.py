"""What a loss must be for an LLC to mean anything: one finite number, reproducible, a mean over examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.blame import failed_again, users_code
from parsl_optuna.tasks.llc.problem.examples import Examples, tensors
from parsl_optuna.tasks.llc.problem.graph import nodes
from parsl_optuna.tasks.llc.problem.posed import Posed, first_line, quiet, rewritten, unaccelerated_attention
from parsl_optuna.tasks.llc.problem.slopes import WrongLoss, check_gradient, check_jumps, normal, value_of

_ROWS = 96
"""Random examples that are looked at: enough that rare classes and masks show."""

_CHUNKS = (1, 2, 3, 5, 8, 13, 21, 43)
"""Of so many examples; unequal, since a mean of equal chunks hides a wrong denominator."""

_ORDERS = 4
"""In so many orders of the examples: in one order of 300 a sum over a mask is a mean to 2e-5, by chance."""

_TOLERANCE = {torch.float64: 5e-6, torch.float32: 2e-4}
"""Relative; what sums in another order may differ by, with room for badly conditioned models, and in float64
for those that compute in float32 inside. A sum over what a mask leaves is off by 1e-4 and more."""

_SLOPES_SHARE, _FEWEST_ROWS = 0.03, 4
"""Of what is left of the budget, what looking at slopes may take, and the examples that it takes at least. A
transformer of a million parameters has 53 tensors, each of which is moved: 300 s of 600 on all examples.
"""

_PASSES_PER_TENSOR, _PASSES = 6, 60
"""What slopes take: both ways in three directions for each tensor, and two paths of ten gradients."""

_SEEN = 1e-4
"""Change of a loss of about 1 that rounding, also in float32, leaves to be seen."""

_WIDE = 3.0
"""Perturbation at which weights that a forward pass clips or rescales are seen to change."""

_PERTURBED = 0.1
"""Perturbation relative to the mean size of a parameter tensor: at w* itself a loss of 0 hides a sum."""


def check(
    posed: Posed,
    live: Sequence[nn.Parameter],
    examples: Examples,
    original: nn.Module,
    *,
    is_verified: bool = False,
) -> list[str]:
    """Check the loss at perturbed weights, on random examples; leave the weights as they were.

    Args:
        posed: The loss.
        live: The sampled parameters of its model.
        examples: The data, as the loss takes them.
        original: The user's model, whose parameters the loss must not use.
        is_verified: Whether slopes and means have been seen to be right in another precision; rounding may
            hide them in this one.

    Returns:
        Notes for the reader of the result.

    Raises:
        SpecError: The loss is not one number, not finite, random, independent of the parameters, or not a
            mean.
    """
    generator = Generator("cpu").manual_seed(0)
    rows = torch.randperm(examples.n, generator=generator, device="cpu")[:_ROWS]
    few = Examples(examples.rows(rows), len(rows))
    before = [parameter.detach().clone() for parameter in live]
    with quiet(), unaccelerated_attention():
        with users_code(posed, examples):
            value = value_of(posed, few.batch)
        _check_number(value, examples.n)
        try:
            _check_untouched(posed, live, before, few, generator)
            _perturb(posed, live, before, few, generator)
            limit = posed.deadline or Deadline()
            begun = limit.used_sec
            _check_reproducible(posed, few)
            fewer = _affordable(few, len(live), (limit.used_sec - begun) / 2.0, limit.left_sec)
            notes = _check_dependence(posed, live, few, original, may_vanish=is_verified)
            if not is_verified:
                _check_slopes(posed, live, fewer)
                check_jumps(posed, live, before, fewer, generator)
                _check_mean(posed, few, before[0].dtype, generator)
        except (Expired, SpecError):
            raise
        except Exception as error:
            raise failed_again(posed, error) from error
        finally:
            with torch.no_grad():
                for parameter, value in zip(live, before, strict=True):
                    parameter.copy_(value)
    return notes


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


def _check_untouched(
    posed: Posed, live: Sequence[Tensor], before: Sequence[Tensor], few: Examples, generator: Generator
) -> None:
    """Refuse a forward pass that changes the weights it is given, or keeps them elsewhere from then on."""
    names = {id(parameter): name for name, parameter in posed.model.named_parameters()}
    if any(id(parameter) not in names for parameter in live):
        raise SpecError(
            "model: a forward pass puts other parameters in the place of its own; tie them where the model "
            "is made, or call it once before"
        )
    for scale in (0.0, _WIDE):
        given = [value + scale * (value.abs().mean() + 1.0) * normal(value, generator) for value in before]
        with torch.no_grad():
            for parameter, value in zip(live, given, strict=True):
                parameter.copy_(value)
        places = [parameter.data_ptr() for parameter in live]
        _value_or_nan(posed, few)
        for parameter, value, place in zip(live, given, places, strict=True):
            if parameter.data_ptr() != place or not torch.equal(parameter, value):
                raise rewritten(names[id(parameter)])


def _value_or_nan(posed: Posed, few: Examples) -> float:
    """Return the loss; no number where it raises, as a model may at weights far from its own."""
    try:
        return float(value_of(posed, few.batch))
    except Expired:
        raise
    except Exception:
        return math.nan


def _perturb(
    posed: Posed, live: Sequence[Tensor], before: Sequence[Tensor], few: Examples, generator: Generator
) -> None:
    """Move the weights to where the loss is finite, and another one than at a minimum."""
    noises = [(value.abs().mean() + 0.1) * normal(value, generator) for value in before]

    def moved_by(scale: float) -> float:
        with torch.no_grad():
            for parameter, value, noise in zip(live, before, noises, strict=True):
                parameter.copy_(value + scale * noise if value.numel() else value)
        return _value_or_nan(posed, few)

    start = moved_by(0.0)
    for wider in (1.0, 3.0, 10.0, 30.0):  # a loss that has vanished shows nothing but rounding
        found = moved_by(wider * _PERTURBED)
        if math.isfinite(found) and abs(found - start) > _SEEN:
            return
    for power in range(8):
        if math.isfinite(moved_by(_PERTURBED * 0.1**power)):
            return
    raise SpecError(
        "loss: not finite at weights close to those of the model; the posterior cannot be sampled there"
    )


def _affordable(few: Examples, n_tensors: int, pass_sec: float, left_sec: float) -> Examples:
    """Return as many of the examples, a pass over which takes *pass_sec*, as there is time for slopes of."""
    wanted_sec = (_PASSES_PER_TENSOR * n_tensors + _PASSES) * pass_sec
    share = _SLOPES_SHARE * left_sec / max(wanted_sec, 1e-9)
    n = few.n if share >= 1.0 else min(few.n, max(_FEWEST_ROWS, int(share * few.n)))
    return few if n == few.n else Examples(few.rows(slice(0, n)), n)


def _check_reproducible(posed: Posed, few: Examples) -> None:
    values = [float(value_of(posed, few.batch)) for _ in range(2)]
    if values[0] != values[1] and not math.isclose(*values, rel_tol=1e-5):
        raise SpecError(
            f"loss: {values[0]:.6g} and then {values[1]:.6g} at the same weights and examples; it must not "
            "be random "
            "(dropout that ignores eval(), noise, sampling), nor remember earlier calls"
        )


def _check_dependence(
    posed: Posed, live: Sequence[Tensor], few: Examples, original: nn.Module, *, may_vanish: bool
) -> list[str]:
    """Refuse a loss that does not depend on the sampled parameters, or on the user's own copy of them.

    Its gradient *may vanish* where it has been seen not to in another precision.
    """
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
    if not may_vanish and all(gradient is None or not bool(gradient.any()) for gradient in gradients):
        raise SpecError("loss: is constant close to the weights of the model: its gradient is zero there")
    names = {id(parameter): name for name, parameter in posed.model.named_parameters()}
    silent = [names[id(live[index])] for index in unused]
    return [f"parameters without effect on the loss: {', '.join(silent)}"] if silent else []


def _check_slopes(posed: Posed, live: Sequence[Tensor], few: Examples) -> None:
    """Hold the gradient against slopes."""
    with torch.enable_grad():
        value = posed(few.batch)
    computed_in = torch.float32 if _casts(value) else live[0].dtype
    gradients = torch.autograd.grad(value, list(live), allow_unused=True)
    check_gradient(posed, live, few, gradients, computed_in)


def _leaves(value: Tensor) -> list[Tensor]:
    """Return the variables that a value was computed from."""
    variables = (getattr(node, "variable", None) for node in nodes(value))
    return [variable for variable in variables if variable is not None]


def _casts(value: Tensor) -> bool:
    """Tell whether a value was computed with changes of precision, as by a model that calls float()."""
    return any(node.name() == "ToCopyBackward0" for node in nodes(value))


def _check_mean(posed: Posed, few: Examples, dtype: torch.dtype, generator: Generator) -> None:
    """Compare the loss of some examples with the mean of those of unequal chunks of them."""
    if few.n < 2:
        return
    together = float(value_of(posed, few.batch))
    for _ in range(_ORDERS):
        order = torch.randperm(few.n, generator=generator, device="cpu")
        parts = _parts(posed, Examples(few.rows(order), few.n))
        _check_batch(few, together, parts)
        apart = sum(size * part for size, part in parts) / few.n
        scale = max(abs(together), sum(size * abs(part) for size, part in parts) / few.n)
        if math.isfinite(apart) and abs(together - apart) <= _TOLERANCE.get(dtype, 2e-4) * scale + 1e-12:
            continue
        raise WrongLoss(
            f"loss: {together:.6g} on {few.n} examples together but {apart:.6g} as the mean of chunks of "
            f"them; it must be a mean over examples{_cure(posed, few)}"
        )


def _check_batch(few: Examples, together: float, parts: Sequence[tuple[int, float]]) -> None:
    """Refuse a loss that is the same on different examples: of data of its own, whose number nobody told."""
    is_same = all(math.isclose(part, together, rel_tol=1e-9) for _, part in parts)
    if is_same and any(bool((tensor != tensor[:1]).any()) for tensor in tensors(few.batch) if tensor.ndim):
        raise WrongLoss(
            "loss: is the same whichever examples it is given; it must be of its batch, as n is the number "
            "of examples in data. If it needs none, give n equal ones, such as torch.zeros(n, 1)"
        )


def _parts(posed: Posed, few: Examples) -> list[tuple[int, float]]:
    """Return size and loss of the chunks of some examples."""
    parts, done = [], 0
    for size in _CHUNKS:
        size = min(size, few.n - done)
        try:
            part = float(value_of(posed, few.rows(slice(done, done + size))))
        except Expired:
            raise
        except Exception as error:
            said = _of_the_batch(posed) or f": {type(error).__name__}: {first_line(error)}"
            raise SpecError(
                f"loss: fails on {size} examples, though not on {few.n}{said}; it must take any number"
            ) from error
        parts.append((size, part))
        done += size
        if done == few.n:
            break
    return parts


def _of_the_batch(posed: Posed) -> str:
    """Say which layer normalises by statistics of the batch; nothing without one."""
    for part in posed.model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            return (
                f": {type(part).__name__} without running statistics takes those of the batch; "
                "give it some (track_running_stats=True)"
            )
    return ""


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
    if found := _of_the_batch(posed):
        return found
    if posed.calling.form == "outputs":
        with torch.set_grad_enabled(posed.differentiates):
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
