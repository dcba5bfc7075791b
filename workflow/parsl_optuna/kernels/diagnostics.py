"""Convergence diagnostics of ``(draws, chains)`` traces: ESS, R-hat, standard errors.

Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021), arXiv:1903.08008; Geyer (1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

MIN_DRAWS = 4
"""Of half a chain: fewer give no variance of a rank-normalised half."""


def ess(trace: Tensor) -> float:
    """Return the effective sample size of the mean of *trace*, over all chains.

    Geyer's initial monotone sequence on the autocorrelation that combines within- and
    between-chain variance. Each chain is split in half first.

    Returns:
        A number in (0, draws * chains * log10(draws * chains)]; nan for fewer than 4 draws or
        non-finite values, and the number of draws for a constant trace.
    """
    halves = _split(trace)
    if halves is None:
        return math.nan
    draws, chains = halves.shape
    if float((halves - halves.flatten()[0]).abs().max()) == 0.0:
        return float(draws * chains)
    covariance = _autocovariance(halves).mean(1)
    within = float(covariance[0]) * draws / (draws - 1)
    total = within * (draws - 1) / draws
    if chains > 1:
        total += float(halves.mean(0).var())
    correlation = 1.0 - (within - covariance * draws / (draws - 1)) / total
    correlation[0] = 1.0
    tau = _geyer(correlation)
    return draws * chains / max(tau, 1.0 / math.log10(draws * chains))


def rhat(trace: Tensor) -> float:
    """Return rank-normalised split R-hat, the larger of bulk and folded; nan when undefined."""
    halves = _split(trace)
    if halves is None:
        return math.nan
    folded = (halves - halves.flatten().median()).abs()
    return max(_rhat(_rank_normalise(halves)), _rhat(_rank_normalise(folded)))


def mcse(trace: Tensor) -> float:
    """Return the standard error of the mean, sd / sqrt(ESS)."""
    size = ess(trace)
    if math.isnan(size):
        return math.nan
    return float(trace.flatten().std()) / math.sqrt(size)


def drift(trace: Tensor) -> float:
    """Return the z score of the difference between the means of the two halves in time."""
    draws = trace.shape[0]
    if draws < 4 * MIN_DRAWS or trace.numel() == 0:
        return math.nan
    first, second = trace[: draws // 2], trace[draws // 2 :]
    error = math.hypot(mcse(first), mcse(second))
    difference = float(second.mean() - first.mean())
    if error == 0.0:
        return 0.0 if difference == 0.0 else math.inf
    return difference / error


def of_each(diagnostic: Callable[[Tensor], float], traces: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a diagnostic of every observable of *traces* ``(draws, chains, *shape)``, as ``shape``."""
    shape = traces.shape[2:]
    columns = np.moveaxis(traces.reshape(*traces.shape[:2], -1), 2, 0)
    found = [diagnostic(torch.from_numpy(np.ascontiguousarray(column))) for column in columns]
    return np.array(found).reshape(shape)


def equal_time(trace: Tensor, weights: Tensor) -> Tensor:
    """Average *trace* over intervals of equal total weight.

    A chain whose step decays spends unequal time per draw; on intervals of equal time it is
    stationary again, its plain mean is the weighted mean, and ESS and R-hat mean what they say.

    Args:
        trace: ``(draws, chains)``.
        weights: ``(draws,)`` time spent at each draw.

    Returns:
        ``(intervals, chains)``, with as many intervals as the weights are worth,
        (sum w)^2 / sum w^2; *trace* itself when all weights are equal.
    """
    if weights.numel() == 0 or float(weights.max() - weights.min()) <= 1e-12 * float(weights.max()):
        return trace
    intervals = max(1, int(weights.sum().square() / weights.square().sum()))
    edges = torch.cat([weights.new_zeros(1), weights.cumsum(0)])
    edges = edges / edges[-1] * intervals
    mass = trace * (edges[1:] - edges[:-1]).unsqueeze(1)
    integral = torch.cat([mass.new_zeros(1, mass.shape[1]), mass.cumsum(0)])
    grid = torch.arange(intervals + 1, dtype=edges.dtype, device=edges.device)
    right = torch.searchsorted(edges, grid).clamp(1, len(weights))
    width = edges[right] - edges[right - 1]
    share = ((grid - edges[right - 1]) / width).clamp(0, 1).unsqueeze(1)
    at_grid = integral[right - 1] + share * (integral[right] - integral[right - 1])
    return at_grid[1:] - at_grid[:-1]


def _split(trace: Tensor) -> Tensor | None:
    half = trace.shape[0] // 2
    if half < MIN_DRAWS or trace.numel() == 0 or not bool(torch.isfinite(trace).all()):
        return None
    return torch.cat([trace[:half], trace[-half:]], dim=1).double()


def _autocovariance(trace: Tensor) -> Tensor:
    """Return biased autocovariances ``(draws, chains)`` by FFT."""
    draws = trace.shape[0]
    centred = trace - trace.mean(0)
    size = 2 ** math.ceil(math.log2(2 * draws))
    spectrum = torch.fft.rfft(centred, n=size, dim=0)
    return torch.fft.irfft(spectrum.abs().square(), n=size, dim=0)[:draws] / draws


def _geyer(correlation: Tensor) -> float:
    """Integrate autocorrelations up to the first non-positive pair, made monotone."""
    pairs = correlation[: len(correlation) // 2 * 2].reshape(-1, 2).sum(1)
    negative = torch.nonzero(pairs <= 0)
    stop = int(negative[0]) if len(negative) else len(pairs)
    kept = torch.cummin(pairs[: max(stop, 1)], dim=0).values
    return float(2.0 * kept.sum() - 1.0)


def _rank_normalise(trace: Tensor) -> Tensor:
    values, inverse, counts = torch.unique(trace.flatten(), return_inverse=True, return_counts=True)
    del values
    last = counts.cumsum(0).double()
    average_rank = last - (counts.double() - 1) / 2
    rank = average_rank[inverse].reshape(trace.shape)
    quantile = (rank - 0.375) / (trace.numel() + 0.25)
    return torch.special.ndtri(quantile)


def _rhat(trace: Tensor) -> float:
    draws = trace.shape[0]
    within = float(trace.var(0).mean())
    between = draws * float(trace.mean(0).var())
    if within == 0.0:
        return 1.0 if between == 0.0 else math.inf
    return math.sqrt((draws - 1) / draws + between / within / draws)
