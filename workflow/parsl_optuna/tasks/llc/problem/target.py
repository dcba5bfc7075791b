"""The one target that the reference and every trial of a problem share: data, w*, L0.

`prepare` builds it once, in float64, into a folder; `load` reads it back. Nothing is trained twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.kernels.device import devices_named, one_core
from parsl_optuna.tasks.llc.problem import curvature
from parsl_optuna.tasks.llc.problem.centre import find_centre
from parsl_optuna.tasks.llc.problem.data import generate, generator, initial_weights
from parsl_optuna.tasks.llc.problem.losses import DeepLinearLoss, Loss, MlpLoss, MonomialLoss, QuadraticLoss
from parsl_optuna.tasks.llc.problem.spec import DeepLinear, Mlp, Monomial, Posterior, Problem, Quadratic, bind
from parsl_optuna.tasks.llc.problem.spread import spread

_ARRAYS = "target.npz"
_SUMMARY = "target.json"


@dataclass(frozen=True)
class Summary:
    """What is known of the centre.

    Attributes:
        L0: Loss at w*.
        dim: Number of parameters.
        n: Number of examples.
        gradient_norm: Norm of the loss gradient at w*.
        max_eigenvalue: Largest Hessian eigenvalue there (in size); null if there was no time for it.
        min_eigenvalue: Smallest; null above 1,000 dimensions.
        centre_bias: t/2 G'(H + gamma/t)^-1 G, the drop in t L that a quadratic model predicts
            between w* and the true minimum, in units of the LLC; null above 1,000 dimensions.
        has_exact_diagonal: Whether ``diagonal`` is exact or estimated by random probes.
    """

    L0: float
    dim: int
    n: int
    gradient_norm: float
    max_eigenvalue: float | None
    min_eigenvalue: float | None
    centre_bias: float | None
    has_exact_diagonal: bool


@dataclass(frozen=True)
class Target:
    """A loaded target; tensors in the posterior's precision.

    Attributes:
        posterior: Temperature and localiser.
        loss: The loss, gradients included.
        centre: w* ``(dim,)``.
        diagonal: Diagonal of the Hessian at w* ``(dim,)``.
        summary: Numbers of the centre.
    """

    posterior: Posterior
    loss: Loss
    centre: Tensor
    diagonal: Tensor
    summary: Summary


def prepare(problem: Mapping[str, Any], folder: Path) -> None:
    """Build the target of a resolved problem into *folder*, in float64."""
    one_core()
    typed = bind(problem)
    devices_named(typed.device or "cpu")  # before the work that a trial would find to be in vain
    x, y = generate(typed) if isinstance(typed.model, Mlp) else (None, None)
    loss = make_loss(typed, x, y, torch.empty(0, dtype=torch.float64, device="cpu"))
    if isinstance(typed.model, Mlp) and typed.training is not None:
        sizes, bias = typed.model.layer_sizes(), typed.model.bias
        start = initial_weights(sizes, bias, generator(typed, "start"))
        n, posterior = loss.n_examples, typed.posterior
        t, gamma = n * posterior.beta(n), posterior.localiser(loss.dim)
        centre = find_centre(loss, start, typed.training, t, gamma)
    else:
        centre = _known_centre(typed)
    diagonal, summary = examine(loss, centre, typed.posterior, generator(typed, "curvature"))
    arrays: dict[str, Any] = {"centre": centre.numpy(), "diagonal": diagonal.numpy()}
    if x is not None and y is not None:
        arrays |= {"x": x.numpy(), "y": y.numpy()}
    with (folder / _ARRAYS).open("wb") as stream:
        np.savez(stream, **arrays)
    (folder / _SUMMARY).write_text(json.dumps(asdict(summary), indent=2), encoding="utf-8")


def load(problem: Mapping[str, Any], folder: Path) -> Target:
    """Read the target of a resolved problem from *folder*."""
    typed = bind(problem)
    dtype, devices = getattr(torch, typed.posterior.precision), devices_named(typed.device or "cpu")
    with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]).to(devices[0], dtype) for name in arrays.files}
    summary = Summary(**json.loads((folder / _SUMMARY).read_text(encoding="utf-8")))

    def made(device: torch.device) -> Loss:
        x, y = (tensors[name].to(device) if name in tensors else None for name in ("x", "y"))
        return make_loss(typed, x, y, torch.empty(0, dtype=dtype, device=device))

    loss = spread(made(devices[0]), devices, made)
    return Target(typed.posterior, loss, tensors["centre"], tensors["diagonal"], summary)


def make_loss(problem: Problem, x: Tensor | None, y: Tensor | None, like: Tensor) -> Loss:
    """Return the loss of a problem, in the precision and on the device of *like*.

    A network needs its data ``(n, in)`` and ``(n, out)``.
    """
    model, n, scale = problem.model, problem.data.n_data, problem.posterior.loss_scale
    if isinstance(model, DeepLinear):
        return DeepLinearLoss(model.widths, model.rank, n, like, scale)
    if isinstance(model, Quadratic):
        curvature_of = like.new_tensor(model.curvature).expand(model.dim)
        return QuadraticLoss(curvature_of, model.offset, n, scale)
    if isinstance(model, Monomial):
        return MonomialLoss(like.new_tensor(model.exponents), n, scale)
    assert x is not None
    assert y is not None
    return MlpLoss(x, y, model.layer_sizes(), model.activation, model.bias, scale)


def _known_centre(problem: Problem) -> Tensor:
    model = problem.model
    if isinstance(model, DeepLinear):
        layers = []
        for rows, columns in zip(model.widths[1:], model.widths[:-1], strict=True):
            layer = torch.zeros(rows, columns, dtype=torch.float64, device="cpu")
            layer.diagonal()[: model.rank] = 1.0
            layers.append(layer.flatten())
        return torch.cat(layers)
    dim = model.dim if isinstance(model, Quadratic) else len(getattr(model, "exponents", ()))
    return torch.zeros(dim, dtype=torch.float64, device="cpu")


def examine(
    loss: Loss,
    centre: Tensor,
    posterior: Posterior,
    stream: Generator,
    deadline: Deadline = Deadline(),  # noqa: B008
) -> tuple[Tensor, Summary]:
    """Measure loss, gradient and curvature at the centre ``(dim,)``; return the diagonal of H with them.

    What the deadline leaves no time for is None; the diagonal then is 0.
    """
    n = loss.n_examples
    t, gamma = n * posterior.beta(n), posterior.localiser(loss.dim)
    begun = deadline.used_sec
    value, gradient = (part[0] for part in loss.value_and_grad(centre.unsqueeze(0)))
    if not math.isfinite(float(value)):
        raise FloatingPointError("training ended at a loss that is not finite; lower training.lr")
    affordable = 2 * loss.dim * (deadline.used_sec - begun) <= deadline.left_sec
    hessian = _hessian(loss, centre, deadline) if loss.dim <= curvature.EXACT_LIMIT and affordable else None
    largest = smallest = bias = None
    if hessian is not None:
        eigenvalues, basis = torch.linalg.eigh(hessian)
        diagonal = hessian.diagonal().clone()
        smallest = float(eigenvalues[0])
        largest = float(eigenvalues[int(eigenvalues.abs().argmax())])
        components = (basis.T @ gradient).square()
        bias = float(0.5 * t * (components / (eigenvalues.abs() + gamma / t)).sum())
    else:
        diagonal = torch.zeros_like(centre)
        with suppress(Expired):
            diagonal = curvature.diagonal_estimate(loss, centre, stream, deadline)
            largest = curvature.largest_eigenvalue(loss, centre, stream, deadline)
    norm, exact = float(gradient.norm()), hessian is not None
    return diagonal, Summary(float(value), loss.dim, n, norm, largest, smallest, bias, exact)


def _hessian(loss: Loss, centre: Tensor, deadline: Deadline) -> Tensor | None:
    try:
        return curvature.hessian(loss, centre, deadline)
    except Expired:
        return None
