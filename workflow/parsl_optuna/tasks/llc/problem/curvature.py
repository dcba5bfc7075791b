"""Second derivatives of a loss from exact gradients: products, diagonal, extreme eigenvalues.

Hessian-vector products are central differences of gradients (relative error about 1e-10 in float64),
so a loss needs to provide its gradient only.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.kernels.batch import normal_like
from parsl_optuna.kernels.types import Potential
from parsl_optuna.tasks.llc.problem.losses import Loss

EXACT_LIMIT = 1000
"""Up to this dimension the whole Hessian is formed: 2 dim gradients."""

_STEPS = {torch.float64: 1e-5, torch.float32: 5e-3}
"""About the cube root of the rounding, which balances it against the third derivative."""

_BATCH = 64
_PROBES = 32
_POWER_ITERATIONS = 20


def hvp(loss: Loss, centre: Tensor, directions: Tensor, deadline: Deadline = Deadline()) -> Tensor:  # noqa: B008
    """Return H v ``(n, dim)`` for directions ``(n, dim)`` at *centre* ``(dim,)``; 2 n gradients.

    Raises:
        Expired: The deadline passed before the end.
    """
    products = []
    step = _STEPS[centre.dtype] * (1.0 + centre.abs().max())
    at, size = 0, _BATCH
    if deadline.budget_sec < math.inf:
        size = 1  # until it is known how long one takes
    while at < len(directions):
        deadline.check()
        batch = directions[at : at + size]
        at, size = at + size, min(2 * size, _BATCH)
        norm = batch.norm(dim=1, keepdim=True).clamp(min=torch.finfo(centre.dtype).tiny)
        shift = step * batch / norm
        _, up = loss.value_and_grad(centre + shift)
        _, down = loss.value_and_grad(centre - shift)
        products.append((up - down) * norm / (2 * step))
    return torch.cat(products)


def hessian(loss: Loss, centre: Tensor, deadline: Deadline = Deadline()) -> Tensor:  # noqa: B008
    """Return the symmetric Hessian ``(dim, dim)``; may raise `Expired`."""
    full = hvp(loss, centre, torch.eye(len(centre), dtype=centre.dtype, device=centre.device), deadline)
    return 0.5 * (full + full.T)


def diagonal_estimate(
    loss: Loss,
    centre: Tensor,
    generator: Generator,
    deadline: Deadline = Deadline(),  # noqa: B008
) -> Tensor:
    """Estimate diag(H) ``(dim,)`` with Rademacher probes (Hutchinson; Bekas et al. 2007)."""
    coins = torch.randint(2, (_PROBES, len(centre)), generator=generator, device=generator.device)
    probes = (2 * coins - 1).to(centre)
    return (probes * hvp(loss, centre, probes, deadline)).mean(0)


def largest_eigenvalue(
    loss: Loss,
    centre: Tensor,
    generator: Generator,
    deadline: Deadline = Deadline(),  # noqa: B008
) -> float:
    """Return the eigenvalue of H that is largest in size, by power iteration."""
    vector = torch.randn(1, len(centre), generator=generator, dtype=centre.dtype, device=generator.device)
    vector = vector.to(centre.device)
    value = 0.0
    for _ in range(_POWER_ITERATIONS):
        vector = vector / vector.norm().clamp(min=torch.finfo(centre.dtype).tiny)
        product = hvp(loss, centre, vector, deadline)
        value = float((vector * product).sum())
        vector = product
    return value


def largest_curvatures(potential: Potential, position: Tensor, generator: Generator) -> Tensor:
    """Return the largest eigenvalues ``(chains,)`` of the Hessian of *potential* at each chain."""
    _, gradient = potential(position, generator)
    vectors = normal_like(position, generator)
    size = vectors.new_ones(len(position))
    for _ in range(_POWER_ITERATIONS):
        vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-30)
        vectors = _products(vectors, potential, position, gradient, generator)
        size = vectors.norm(dim=1)
    return size


def curvature_along(
    directions: Tensor, potential: Potential, position: Tensor, gradient: Tensor, generator: Generator
) -> Tensor:
    """Return u' H u ``(chains,)`` along unit vectors u of *directions*, H the Hessian at each position."""
    units = directions / directions.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return (units * _products(units, potential, position, gradient, generator)).sum(1)


def _products(
    units: Tensor, potential: Potential, position: Tensor, gradient: Tensor, generator: Generator
) -> Tensor:
    """Return H u ``(chains, dim)`` by forward differences."""
    step = 1e-4 if position.dtype == torch.float64 else 1e-2
    return (potential(position + step * units, generator)[1] - gradient) / step
