"""Observables of an estimate: their means, and covariances of two of them, with standard errors.

No torch before an error is asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_GROUPS = 32
"""Groups of draws that standard errors of covariances come from, at least: known to 1/sqrt(64) = 13 %."""


@dataclass(frozen=True)
class Moment:
    """A covariance or what is computed from one, and its standard error; arrays of one shape."""

    value: Array
    se: Array


@dataclass(frozen=True)
class Observable:
    """A function of the weights under the posterior, with errors as for the loss (arXiv:1903.08008).

    Attributes:
        values: At every draw, ``(draws, chains, *shape)``.
        centre: At w*, ``shape``.
    """

    values: Array
    centre: Array

    @cached_property
    def mean(self) -> Array:
        """Posterior mean, ``shape``."""
        return self.values.mean((0, 1))

    @cached_property
    def se(self) -> Array:
        """Standard error of the mean, sd / sqrt(ESS), ``shape``."""
        return self.values.std((0, 1)) / np.sqrt(self.ess)

    @cached_property
    def ess(self) -> Array:
        """Effective sample size over all chains, ``shape``."""
        from parsl_optuna.kernels.diagnostics import ess, of_each  # noqa: PLC0415

        return of_each(ess, self.values)

    @cached_property
    def rhat(self) -> Array:
        """Rank-normalised split R-hat, ``shape``; above 1.05 chains disagree."""
        from parsl_optuna.kernels.diagnostics import of_each, rhat  # noqa: PLC0415

        return of_each(rhat, self.values)

    def __str__(self) -> str:
        if self.centre.size > 1:
            return f"{self.centre.shape} values, R-hat at most {np.max(self.rhat):.3f}"
        return f"{self.mean.item():.4g} ± {self.se.item():.2g}, {self.centre.item():.4g} at the centre"


def covariance(first: Array, second: Array) -> Moment:
    """Return the covariance of two observables, by a jackknife over parts of the chains (Efron 1982).

    Args:
        first: ``(draws, chains, *shape)``.
        second: ``(draws, chains, *other)`` at the same draws.

    Returns:
        Arrays of shape ``(*shape, *other)``.
    """
    return _jackknife(first, second, lambda product, _, __: product)


def correlation(first: Array, second: Array) -> Moment:
    """Return the correlation of two observables, nan where one is constant; otherwise as `covariance`."""

    def scaled(product: Array, left: Array, right: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return product / np.sqrt(np.outer(left, right))

    found = _jackknife(first, second, scaled)
    return Moment(found.value.clip(-1.0, 1.0), found.se)


def _jackknife(first: Array, second: Array, of: Callable[[Array, Array, Array], Array]) -> Moment:
    """Return *of* covariance ``(a, b)``, variances ``(a,)`` and variances ``(b,)``, with its error."""
    left, right = (_groups(each - each.mean((0, 1))) for each in (first, second))
    count, size = left.shape[:2]
    sums, squares = ([power(each).sum(1) for each in (left, right)] for power in (np.asarray, np.square))
    whole = np.einsum("gda,gdb->ab", left, right, optimize=True)

    def moments(product: Array, group: int | None) -> Array:
        rest = (count if group is None else count - 1) * size
        kept = [each.sum(0) - (0.0 if group is None else each[group]) for each in (*sums, *squares)]
        means = [each / rest for each in kept[:2]]
        variances = [square / rest - mean**2 for square, mean in zip(kept[2:], means, strict=True)]
        return of(product / rest - np.outer(*means), *variances)

    def without(group: int) -> Array:  # computed twice: all at once would fill the memory
        return moments(whole - left[group].T @ right[group], group)

    plain = moments(whole, None)
    mean = sum(without(group) for group in range(count)) / count
    spread = sum((without(group) - mean) ** 2 for group in range(count))
    shape = first.shape[2:] + second.shape[2:]
    value = count * plain - (count - 1) * mean
    return Moment(value.reshape(shape), np.sqrt((count - 1) / count * spread).reshape(shape))


def mean(values: Array) -> Moment:
    """Return the mean of ``(draws, chains, *shape)`` over both, its error from parts of the chains."""
    means = _groups(values).mean(1)
    error = means.std(0, ddof=1) / math.sqrt(len(means))
    return Moment(means.mean(0).reshape(values.shape[2:]), error.reshape(values.shape[2:]))


def _groups(values: Array) -> Array:
    """Cut chains into parts that are long enough to be independent: ``(groups, draws, size)`` in float64."""
    draws, chains = values.shape[:2]
    parts = max(1, min(math.ceil(_GROUPS / chains), draws // 4))
    kept = values[draws % parts :].reshape(parts, draws // parts, chains, -1).astype(np.float64)
    return kept.swapaxes(1, 2).reshape(parts * chains, draws // parts, -1)


def parquet(draws: Mapping[str, Array], said: Mapping[str, Any]) -> bytes:
    """Return draws ``(chains, draws, *shape)`` by name as a Parquet file: a row per chain and draw."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    chains, count = next(iter(draws.values())).shape[:2]
    columns: dict[str, pa.Array] = {
        "chain": pa.array(np.repeat(np.arange(chains), count)),
        "draw": pa.array(np.tile(np.arange(count), chains)),
    }
    for name, values in draws.items():
        flat = np.ascontiguousarray(values).reshape(chains * count, -1)
        numbers = pa.array(flat.reshape(-1))
        whole = values.ndim == 2
        columns[name] = numbers if whole else pa.FixedSizeListArray.from_arrays(numbers, flat.shape[1])
    shapes = {name: list(values.shape[2:]) for name, values in draws.items()}
    metadata = {"shapes": json.dumps(shapes), "estimate": json.dumps(said)}
    stream = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), stream)
    return stream.getvalue().to_pybytes()
