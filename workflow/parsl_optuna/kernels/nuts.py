"""The No-U-Turn sampler: Hamiltonian Monte Carlo whose trajectories end where they turn back.

Hoffman & Gelman (2014), arXiv:1111.4246; multinomial draws from a trajectory and the generalized criterion:
Betancourt (2017), arXiv:1701.02434, with the checks across neighbouring subtrees that Stan adds. A subtree is
built leaf by leaf, and keeps one leaf per depth for its checks (Phan, Pradhan & Jankowiak 2019,
arXiv:1912.11554): the subtrees of all chains grow together, and a chain that has ended costs no gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from parsl_optuna.kernels.batch import normal_like, select, shrunk_like, uniform_like
from parsl_optuna.kernels.hmc import SHORT, State, init, kinetic
from parsl_optuna.kernels.types import DIVERGENCE_THRESHOLD, Info, Kernel, Potential

MOST_DOUBLINGS = 10
"""Of a trajectory, Stan's default: 1,023 leapfrog steps."""

N = TypeVar("N", bound=tuple[Any, ...])


@dataclass(frozen=True)
class Params:
    """Settings of one kernel.

    Args:
        step_size: Leapfrog step, in units of the mass-scaled coordinates.
        inverse_mass: ``(dim,)`` estimate of the posterior variances.
        spread: Each chain and draw uses the step times 2^(-spread u^3), u uniform; 0 is one size.
        most_doublings: A trajectory has at most 2 to this power, less 1, leapfrog steps.
    """

    step_size: float
    inverse_mass: Tensor
    spread: float = 0.0
    most_doublings: int = MOST_DOUBLINGS


class _Point(NamedTuple):
    """Where a trajectory ends, each ``(rows, dim)``."""

    position: Tensor
    momentum: Tensor
    gradient: Tensor


class _Tree(NamedTuple):
    """The trajectories of the chains that go on; a row each.

    Attributes:
        chain: Whose trajectory it is.
        energy: H where it began.
        size: Leapfrog step ``(rows, 1)``.
        back: Its earlier end.
        front: Its later end.
        momenta: Sum of the momenta of its states, ``(rows, dim)``.
        log_weight: log sum exp(H at the beginning - H) over its states.
        drawn: The state that was drawn from it so far.
    """

    chain: Tensor
    energy: Tensor
    size: Tensor
    back: _Point
    front: _Point
    momenta: Tensor
    log_weight: Tensor
    drawn: State


class _Mark(NamedTuple):
    """A leaf with an even number, where subtrees of a subtree begin; each ``(rows, dim)``.

    Attributes:
        momentum: At the leaf.
        previous: At the leaf before it.
        before: Sum of the momenta of all leaves before it.
    """

    momentum: Tensor
    previous: Tensor
    before: Tensor


class _Subtree(NamedTuple):
    """What is appended to the trees *row*, so far; `_Tree` names the other fields.

    Attributes:
        row: The tree that it is appended to.
        size: Signed: below 0 where it grows backwards in time.
        first: Momentum of its first leaf.
        tip: Its last leaf.
        marks: One per depth.
    """

    row: Tensor
    chain: Tensor
    energy: Tensor
    size: Tensor
    first: Tensor
    tip: _Point
    momenta: Tensor
    log_weight: Tensor
    drawn: State
    marks: tuple[_Mark, ...]


class _Leaves:
    """What the leaves of all chains have shown, each ``(chains,)``; *evaluated* counts gradients."""

    def __init__(self, like: Tensor) -> None:
        self.count, self.acceptance, self.largest = (torch.zeros_like(like) for _ in range(3))
        self.evaluated = 0

    def add(self, chain: Tensor, change: Tensor) -> None:
        """Add a leaf of each *chain*, with its energy error *change*."""
        self.count.index_add_(0, chain, torch.ones_like(change))
        self.acceptance.index_add_(0, chain, torch.exp(-change.clamp(min=0.0)))
        self.largest[chain] = torch.maximum(self.largest[chain], change)
        self.evaluated += len(chain)


def build(potential: Potential, params: Params) -> Kernel[State]:
    """Return the kernel with density and settings bound."""
    return Kernel(partial(init, potential=potential), partial(step, potential=potential, params=params))


def step(state: State, generator: Generator, *, potential: Potential, params: Params) -> tuple[State, Info]:
    """Draw momenta, double trajectories until they turn, and draw one of their states.

    The acceptance is the mean of min(1, exp(H - H')) over the leaves H', the energy error the largest of
    them. With a spread, only the failure of a short step counts as a divergence, as in `hmc`.
    """
    momentum = normal_like(state.position, generator) / params.inverse_mass.sqrt()
    shrink = shrunk_like(state.potential, params.spread, generator)
    tree = _started(state, momentum, shrink.unsqueeze(-1) * params.step_size, params.inverse_mass)
    grow = _Growth(potential, params.inverse_mass, generator, _Leaves(state.potential))
    drawn = state
    for depth in range(params.most_doublings):
        tree, goes_on = grow.doubled(tree, depth)
        if not bool(goes_on.all()):
            ended = _rows(tree, ~goes_on)
            drawn = _put(drawn, ended.chain, ended.drawn)
            tree = _rows(tree, goes_on)
        if not len(tree.chain):
            break
    leaves = grow.leaves
    diverged = (leaves.largest > DIVERGENCE_THRESHOLD) & (shrink <= SHORT**params.spread)
    per_chain = -(-leaves.evaluated // len(shrink))
    info = Info(leaves.acceptance / leaves.count, leaves.largest, diverged, per_chain)
    return _put(drawn, tree.chain, tree.drawn), info


def _started(state: State, momentum: Tensor, size: Tensor, inverse_mass: Tensor) -> _Tree:
    chain = torch.arange(len(momentum), device=momentum.device)
    point = _Point(state.position, momentum, state.gradient)
    energy = state.potential + kinetic(momentum, inverse_mass)
    return _Tree(chain, energy, size, point, point, momentum, torch.zeros_like(energy), state)


@dataclass(frozen=True)
class _Growth:
    """Appends subtrees to trajectories."""

    potential: Potential
    inverse_mass: Tensor
    generator: Generator
    leaves: _Leaves

    def doubled(self, tree: _Tree, depth: int) -> tuple[_Tree, Tensor]:
        """Append a subtree of 2^depth leaves in a random direction to each tree, where it is complete.

        Also return which trees go on ``(rows,)``: those that are whole and do not turn.
        """
        forward = uniform_like(tree.energy, self.generator) < 0.5
        tip = select(forward, tree.front, tree.back)
        other = select(forward, tree.back, tree.front)
        added = self._subtree(tree, tip, forward, depth)
        goes_on = torch.zeros_like(forward)
        if not len(added.row):
            return tree, goes_on
        row, old = added.row, _rows(tree, added.row)
        chance = uniform_like(added.energy, self.generator).log()  # biased progressive sampling
        drawn = select(chance < added.log_weight - old.log_weight, added.drawn, old.drawn)
        turns = self._halves_turn(
            _Half(other.momentum[row], tip.momentum[row], old.momenta),
            _Half(added.first, added.tip.momentum, added.momenta),
        )
        goes_on[row] = ~turns
        ahead = forward[row]
        whole = old._replace(
            back=select(ahead, old.back, added.tip),
            front=select(ahead, added.tip, old.front),
            momenta=old.momenta + added.momenta,
            log_weight=torch.logaddexp(old.log_weight, added.log_weight),
            drawn=drawn,
        )
        return _put(tree, row, whole), goes_on

    def _subtree(self, tree: _Tree, tip: _Point, forward: Tensor, depth: int) -> _Subtree:
        """Return the subtrees that neither turn nor diverge anywhere inside."""
        nothing = torch.zeros_like(tree.momenta)
        sub = _Subtree(
            torch.arange(len(tree.chain), device=forward.device),
            tree.chain,
            tree.energy,
            torch.where(forward.unsqueeze(-1), tree.size, -tree.size),
            nothing,
            tip,
            nothing,
            torch.full_like(tree.energy, -torch.inf),
            tree.drawn,
            (_Mark(nothing, nothing, nothing),) * depth,
        )
        for leaf in range(2**depth):
            sub, is_good = self._extended(sub, leaf)
            if not bool(is_good.all()):
                sub = _rows(sub, is_good)
            if not len(sub.row):
                break
        return sub

    def _extended(self, sub: _Subtree, leaf: int) -> tuple[_Subtree, Tensor]:
        """Append a leaf to every subtree; also return which are still good ``(rows,)``."""
        tip, potential = self._leapfrog(sub.tip, sub.size)
        change = potential + kinetic(tip.momentum, self.inverse_mass) - sub.energy
        change = torch.where(torch.isfinite(change), change, torch.inf)
        self.leaves.add(sub.chain, change)
        log_weight = torch.logaddexp(sub.log_weight, -change)
        is_drawn = uniform_like(change, self.generator).log() < -change - log_weight
        here = State(tip.position, potential, tip.gradient)
        marks = sub.marks
        if leaf % 2 == 0 and marks:
            mark = _Mark(tip.momentum, sub.tip.momentum, sub.momenta)
            marks = tuple(mark if i == _slot(leaf) else kept for i, kept in enumerate(marks))
        sub = sub._replace(
            first=tip.momentum if leaf == 0 else sub.first,
            tip=tip,
            momenta=sub.momenta + tip.momentum,
            log_weight=log_weight,
            drawn=select(is_drawn, here, sub.drawn),
            marks=marks,
        )
        is_good = change <= DIVERGENCE_THRESHOLD
        return sub, is_good & ~self._turns_inside(sub, leaf) if leaf % 2 else is_good

    def _leapfrog(self, at: _Point, size: Tensor) -> tuple[_Point, Tensor]:
        momentum = at.momentum - 0.5 * size * at.gradient
        position = at.position + size * self.inverse_mass * momentum
        potential, gradient = self.potential(position, self.generator)
        return _Point(position, momentum - 0.5 * size * gradient, gradient), potential

    def _turns_inside(self, sub: _Subtree, leaf: int) -> Tensor:
        """Whether one of the subtrees that end at an odd *leaf*, of 2, 4, ... leaves, turns ``(rows,)``."""
        last = sub.tip.momentum
        begins = [leaf + 1 - 2**level for level in range(1, _trailing_ones(leaf) + 1)]
        left = sub.marks[_slot(begins[0])]
        turns = self._turns(sub.momenta - left.before, left.momentum, last)
        for begin in begins[1:]:
            right, left = left, sub.marks[_slot(begin)]
            turns = turns | self._halves_turn(
                _Half(left.momentum, right.previous, right.before - left.before),
                _Half(right.momentum, last, sub.momenta - right.before),
            )
        return turns

    def _halves_turn(self, left: _Half, right: _Half) -> Tensor:
        """Whether two neighbouring halves turn as a whole, or each with the next state of the other one."""
        return (
            self._turns(left.momenta + right.momenta, left.first, right.last)
            | self._turns(left.momenta + right.first, left.first, right.first)
            | self._turns(right.momenta + left.last, left.last, right.last)
        )

    def _turns(self, momenta: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Whether the sum of *momenta*, the way that was gone, points back at the first or the last one."""
        way = self.inverse_mass * momenta
        return ((way * first).sum(-1) <= 0.0) | ((way * last).sum(-1) <= 0.0)


class _Half(NamedTuple):
    """First and last momentum of a part of a trajectory, and the sum of all; each ``(rows, dim)``."""

    first: Tensor
    last: Tensor
    momenta: Tensor


def _slot(leaf: int) -> int:
    """Return where an even leaf is kept: no leaf that a later check needs is kept there."""
    return (leaf // 2).bit_count()


def _trailing_ones(leaf: int) -> int:
    return (leaf ^ (leaf + 1)).bit_length() - 1


def _rows(tree: N, chosen: Tensor) -> N:
    """Return some rows of all tensors; *chosen* are numbers, or one Boolean per row."""
    row = chosen.nonzero().squeeze(1) if chosen.dtype == torch.bool else chosen
    picked = (_rows(part, row) if isinstance(part, tuple) else part.index_select(0, row) for part in tree)
    return _like(tree, picked)


def _put(tree: N, row: Tensor, new: N) -> N:
    """Return *tree* with other rows in place of the rows *row*."""
    parts = (
        _put(old, row, part) if isinstance(old, tuple) else old.index_copy(0, row, part)
        for old, part in zip(tree, new, strict=True)
    )
    return _like(tree, parts)


def _like(tree: N, parts: Any) -> N:
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
