"""Regression data: inputs, teacher outputs and noise, always drawn in float64 from the problem's seed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Generator, Tensor

from parsl_optuna.core.ids import derive_seed
from parsl_optuna.tasks.llc.problem.losses import MlpLoss
from parsl_optuna.tasks.llc.problem.spec import Data, Mlp, Problem, Student, Teacher


def generator(problem: Problem, purpose: str) -> Generator:
    """Return a stream of randomness that depends on the problem's seed and on *purpose* alone."""
    return Generator().manual_seed(derive_seed("llc", problem.seed, purpose))


def generate(problem: Problem) -> tuple[Tensor, Tensor]:
    """Draw the data of a network problem.

    Returns:
        Inputs ``(n, in_dim)`` and noisy teacher outputs ``(n, out_dim)``.
    """
    model, data, teacher = problem.model, problem.data, problem.teacher
    assert isinstance(model, Mlp)
    assert isinstance(data, Data)
    assert teacher is not None
    x = _inputs(data, model.in_dim, generator(problem, "inputs"))
    y = _teach(x, model, teacher, generator(problem, "teacher"))
    return x, y + _noise(data, x, model.out_dim, generator(problem, "noise"))


def initial_weights(sizes: tuple[int, ...], bias: bool, stream: Generator) -> Tensor:
    """Draw flat weights ``(dim,)``, uniform within 1/sqrt(fan_in) of 0."""
    parts = []
    for fan_in, fan_out in pairwise(sizes):
        bound = fan_in**-0.5
        count = fan_in * fan_out + (fan_out if bias else 0)
        parts.append((2 * _uniform((count,), stream) - 1) * bound)
    return torch.cat(parts)


def _inputs(data: Data, dim: int, stream: Generator) -> Tensor:
    shape = (data.n_data, dim)
    if data.x_dist == "gauss_aniso":
        variances = data.cov_decay ** torch.arange(dim, dtype=torch.float64)
        return _normal(shape, stream) * variances.sqrt()
    if data.x_dist == "mixture":
        directions = _normal((data.mixture_k, dim), stream)
        centres = data.mixture_spread * directions / directions.norm(dim=1, keepdim=True)
        member = torch.randint(data.mixture_k, (data.n_data,), generator=stream)
        return centres[member] + _normal(shape, stream)
    if data.x_dist == "lowdim_manifold":
        latent = _normal((data.n_data, data.x_dim_latent), stream)
        return torch.tanh(latent @ _normal((data.x_dim_latent, dim), stream))
    if data.x_dist == "heavy_tail":
        return _normal(shape, stream) / _chi_scale((data.n_data, 1), data.student_df, stream)
    return _normal(shape, stream)


def _teach(x: Tensor, model: Mlp, teacher: Teacher | Student, stream: Generator) -> Tensor:
    if isinstance(teacher, Student):
        network, dropout = model, 0.0
    else:
        target = teacher.target_params if teacher.hidden is None else None
        if target is None and teacher.hidden is None:
            target = model.target_params
        network = Mlp(
            model.in_dim,
            model.out_dim,
            teacher.depth,
            activation=teacher.activation,
            target_params=target,
            hidden=teacher.hidden or model.hidden,
            widths=teacher.widths,
        )
        dropout = teacher.dropout_rate
    sizes = network.layer_sizes()
    weights = initial_weights(sizes, network.bias, stream)
    zeros = torch.zeros(len(x), model.out_dim, dtype=x.dtype)
    y = MlpLoss(x, zeros, sizes, network.activation, network.bias).predict(weights.unsqueeze(0))[0]
    kept = _uniform(tuple(y.shape), stream) >= dropout
    return y * kept


def _noise(data: Data, x: Tensor, out_dim: int, stream: Generator) -> Tensor:
    shape = (len(x), out_dim)
    noise = data.noise_scale * _normal(shape, stream)
    if data.noise_model == "hetero":
        return noise * (1 + data.hetero_scale * x.norm(dim=1, keepdim=True))
    if data.noise_model == "student_t":
        return noise / _chi_scale(shape, data.student_df, stream)
    if data.noise_model == "outliers":
        hit = _uniform(shape, stream) < data.outlier_frac
        return torch.where(hit, data.outlier_scale * _normal(shape, stream), noise)
    return noise


def _chi_scale(shape: tuple[int, ...], df: float, stream: Generator) -> Tensor:
    """Draw sqrt(chi2_df / df), the denominator of Student's t."""
    seed = int(torch.randint(2**62, (), generator=stream))  # torch's gamma takes no generator
    return torch.from_numpy(np.random.default_rng(seed).chisquare(df, shape) / df).sqrt()


def _normal(shape: tuple[int, ...], stream: Generator) -> Tensor:
    return torch.randn(shape, generator=stream, dtype=torch.float64)


def _uniform(shape: tuple[int, ...], stream: Generator) -> Tensor:
    return torch.rand(shape, generator=stream, dtype=torch.float64)
