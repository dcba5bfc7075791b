"""The contract of every sampler: a pair of pure functions on a batch of chains.

State is what the next step needs, Info is what an observer needs. Knows nothing of trials or files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from torch import Generator, Tensor

S = TypeVar("S")

Potential = Callable[[Tensor, Generator], tuple[Tensor, Tensor]]
"""``(chains, dim) -> ((chains,), (chains, dim))``: energy U = -log density and its gradient.

A stochastic potential draws its own minibatch from the generator, so full-batch and stochastic
samplers have one signature.
"""


class Info(NamedTuple):
    """What one step reports, for every method; one entry per chain.

    Attributes:
        acceptance: Metropolis acceptance probability; 1 where there is no correction.
        energy_change: Energy error of the step; 0 where none is defined.
        diverged: Whether the step left the finite numbers (or its energy error exceeded 1000).
        grad_evals: Gradient evaluations of one chain.
    """

    acceptance: Tensor
    energy_change: Tensor
    diverged: Tensor
    grad_evals: int


class Kernel(NamedTuple, Generic[S]):
    """A Markov kernel: ``init(position, generator)`` and ``step(state, generator)``.

    ``step`` does not change its argument, print or read the clock; trouble is reported in `Info`.
    """

    init: Callable[[Tensor, Generator], S]
    step: Callable[[S, Generator], tuple[S, Info]]


class Approximation(NamedTuple, Generic[S]):
    """A fitted family: as `Kernel`, and ``sample(state, generator, n)`` draws from the fit."""

    init: Callable[[Tensor, Generator], S]
    step: Callable[[S, Generator], tuple[S, Info]]
    sample: Callable[[S, Generator, int], Tensor]


DIVERGENCE_THRESHOLD = 1000.0
"""Energy error above which a trajectory counts as divergent (Stan's value)."""
