"""Dynamic pruning: a strategy behind safeguards, with a log of what was pruned and what was held back."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from parsl_optuna.tasks.lvae.strategies import Rule, Seen, candidates

GIVEN_BACK = "given_back"
"""Reason of the event of a dimension that works again."""

_TIMES, _MORE = 2.0, 0.01
"""A normalised error so many times, and by so much, above another one is no longer near it."""


def is_far_above(error: float, other: float) -> bool:
    """Return whether a normalised error is far above another one."""
    return error > max(_TIMES * other, other + _MORE)


@dataclass(frozen=True)
class Safeguards:
    """What may hold pruning back.

    Attributes:
        min_active_dims: Never fewer.
        max_prune_per_epoch: Never more at once, the smallest stds first; None is no limit.
        cooldown_epochs: After pruning, so many epochs without.
        k_consecutive: A dimension goes when it was a candidate so many times in a row.
        recon_tol: Nothing goes while the validation error is further above its least since pruning
            began, as a fraction; None is no limit.
    """

    min_active_dims: int = 0
    max_prune_per_epoch: int | None = None
    cooldown_epochs: int = 0
    k_consecutive: int = 1
    recon_tol: float | None = None


class Pruner:
    """The state of pruning.

    Args:
        dims: Number of latent dimensions.
        strategy: A name of `strategies`.
        rule: Its thresholds.
        guards: Safeguards.
        start: First epoch with pruning.
        beta: Share of the past in the running statistics, per batch.
        stream: Of random strategies.
        intrinsic: Dimension of the designs by their nearest neighbours, if that can be told.

    Attributes:
        active: ``(dims,)`` booleans.
        std: ``(dims,)`` running stds of the codes in training batches.
        mean: Likewise their means.
        frozen_std: ``(dims,)`` stds at the time of pruning.
        frozen_code: ``(dims,)`` what pruned codes are set to.
        events: One per pruned dimension: epoch, dim, std, reason; and one where a dimension is given back.
        held: How often which safeguard held back.
    """

    def __init__(
        self,
        dims: int,
        strategy: str,
        rule: Rule,
        guards: Safeguards,
        start: int,
        beta: float,
        stream: Generator,
        intrinsic: int | None = None,
    ) -> None:
        self._goal = intrinsic if strategy == "neighbours" else None
        self._strategy, self._rule, self._guards = strategy, rule, guards
        self._start, self._beta, self._stream = start, beta, stream
        self.active = torch.ones(dims, dtype=torch.bool)
        self.std, self.mean = torch.zeros(dims), torch.zeros(dims)
        self.frozen_std, self.frozen_code = torch.zeros(dims), torch.zeros(dims)
        self._reference = torch.zeros(dims)
        self._streaks = torch.zeros(dims, dtype=torch.int64)
        self._batches = 0
        self._best: float | None = None
        self._before = self._since = math.inf
        self._judged = False
        self._not_before = start
        self.events: list[dict[str, Any]] = []
        self.held: Counter[str] = Counter()

    @property
    def has_goal(self) -> bool:
        """Whether the number of dimensions is known that `neighbours` goes down to."""
        return self._goal is not None

    @property
    def settled(self) -> bool:
        """Whether it has gone down to that number."""
        return self._goal is not None and bool(self.events) and self.n_active <= self._goal

    def goes_on(self, epoch: int) -> bool:
        """Whether that number is known, and pruning on its way there."""
        return self._goal is not None and epoch >= self._start and self.n_active > self._goal

    @property
    def n_active(self) -> int:
        """Number of dimensions that are left."""
        return int(self.active.sum())

    def mask(self, codes: Tensor) -> Tensor:
        """Return *codes* with pruned dimensions at their constants."""
        return torch.where(self.active.to(codes.device), codes, self.frozen_code.to(codes.device))

    @torch.no_grad()
    def observe(self, codes: Tensor) -> None:
        """Take the codes ``(batch, dims)`` of a training batch; one of a single design says nothing."""
        if len(codes) < 2:
            return
        std, mean = codes.std(dim=0).cpu(), codes.mean(dim=0).cpu()
        share = 1.0 - self._beta if self._batches else 1.0
        self.std, self.mean = self.std.lerp(std, share), self.mean.lerp(mean, share)
        self._batches += 1

    def turn(self, rotation: Tensor, std: Tensor) -> None:
        """Follow a rotation ``(dims, dims)`` of the active codes, after which they have these stds."""
        self.mean = rotation @ self.mean
        self.std[self.active] = std

    def step(self, epoch: int, error: float) -> int:
        """Prune after an epoch with that normalised validation error.

        Returns:
            How many dimensions went; -1 where one came back.
        """
        if self.events:
            self._since = min(self._since, error)
        else:
            self._before = min(self._before, error)
        if epoch < self._start:
            return 0
        if self.settled and not self._judged:
            return -self._give_back(epoch)
        if epoch == self._start or self._best is None:
            self._reference = self.std.clone()
        self._best = error if self._best is None else min(self._best, error)
        guard = self._closed(epoch, error)
        if guard is not None:
            self.held[guard] += 1
            return 0
        seen = Seen(self.std, self.active, self._reference, self._goal)
        found = candidates(self._strategy, seen, self._rule, self._stream) & self.active
        self._streaks = (self._streaks + 1) * found
        ready = found & (self._streaks >= self._guards.k_consecutive)
        if bool((found & ~ready).any()):
            self.held["k_consecutive"] += 1
        chosen = self._limited(ready.nonzero().flatten())
        for dim in chosen.tolist():
            self._freeze(dim, epoch)
        if len(chosen):
            self._since = math.inf
            self._not_before = epoch + self._guards.cooldown_epochs
        return len(chosen)

    def _give_back(self, epoch: int) -> int:
        """Let the last dimension work again where the network did not get over its loss; return how many.

        It has as many epochs for that as it had before pruning began. This happens once.
        """
        last = self.events[-1]
        if epoch < last["epoch"] + max(self._start, 1):
            return 0
        self._judged = True
        if not is_far_above(self._since, self._before):
            return 0
        assert self._goal is not None
        self._goal += 1
        self.active[last["dim"]] = True
        self.events.append(last | {"epoch": epoch, "reason": GIVEN_BACK})
        return 1

    def _closed(self, epoch: int, error: float) -> str | None:
        """Return which safeguard forbids pruning altogether now."""
        guards = self._guards
        if self.n_active <= guards.min_active_dims:
            return "min_active_dims"
        if epoch < self._not_before:
            return "cooldown_epochs"
        assert self._best is not None
        if guards.recon_tol is not None and error > (1.0 + guards.recon_tol) * self._best:
            return "recon_tol"
        return None

    def _limited(self, ready: Tensor) -> Tensor:
        """Keep the smallest stds, as many as the limits allow."""
        ordered = ready[self.std[ready].argsort()]
        limits = {"min_active_dims": self.n_active - self._guards.min_active_dims}
        if self._guards.max_prune_per_epoch is not None:
            limits["max_prune_per_epoch"] = self._guards.max_prune_per_epoch
        for name, limit in limits.items():
            if len(ordered) > limit:
                self.held[name] += 1
                ordered = ordered[:limit]
        return ordered

    def _freeze(self, dim: int, epoch: int) -> None:
        self.events.append(
            {"epoch": epoch, "dim": dim, "std": float(self.std[dim]), "reason": self._strategy}
        )
        self.active[dim] = False
        self.frozen_std[dim], self.frozen_code[dim] = self.std[dim], self.mean[dim]

    def state(self) -> dict[str, Any]:
        """Return everything that a later attempt needs, as tensors and plain data."""
        return {
            "tensors": [getattr(self, name).clone() for name in _TENSORS],
            "plain": [self._batches, self._best, self._not_before, list(self.events), dict(self.held)],
            "goal": [self._goal, self._before, self._since, self._judged],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        for name, value in zip(_TENSORS, state["tensors"], strict=True):
            setattr(self, name, value)
        self._batches, self._best, self._not_before, self.events, held = state["plain"]
        self.held = Counter(held)
        self._goal, self._before, self._since, self._judged = state["goal"]


_TENSORS = ("active", "std", "mean", "frozen_std", "frozen_code", "_reference", "_streaks")
