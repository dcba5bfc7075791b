"""A loss that knows what it costs, and ends when the time is up."""

from __future__ import annotations

import time

from torch import Tensor

from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.llc.problem.losses import Loss


class TimedLoss:
    """A loss under a deadline.

    Args:
        loss: Any.
        deadline: When it has passed, the next evaluation raises `Expired`.

    Attributes:
        seconds: Spent on gradients so far.
        gradients: Gradients of one example for one chain so far.
    """

    def __init__(self, loss: Loss, deadline: Deadline) -> None:
        self._loss, self._deadline = loss, deadline
        self.dim, self.n_examples = loss.dim, loss.n_examples
        self.has_data, self.together, self.pass_bytes = loss.has_data, loss.together, loss.pass_bytes
        self.seconds, self.gradients = 0.0, 0

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)`` on all examples."""
        self._deadline.check()
        return self._loss.value(w)

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``."""
        self._deadline.check()
        begun = time.monotonic()
        found = self._loss.value_and_grad(w, rows)
        self.seconds += time.monotonic() - begun
        self.gradients += len(w) * (self.n_examples if rows is None else rows.shape[-1])
        return found

    def seconds_for(self, chains: int) -> float:
        """Return the seconds that a gradient on all data takes for so many chains, by those so far."""
        return self.seconds / max(self.gradients, 1) * chains * self.n_examples
