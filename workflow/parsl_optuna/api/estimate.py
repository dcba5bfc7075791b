"""The local learning coefficient of a trained model, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.core.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from parsl_optuna.tasks.llc.api import Result
    from parsl_optuna.tasks.llc.problem.selection import Parameters


@dataclass(frozen=True)
class Estimate:
    """An LLC, and what to know before trusting it.

    Attributes:
        llc: t E[L - L0].
        se: Its Monte Carlo standard error.
        status: ``ok``, or what is wrong: ``not_converged``, ``not_minimum``, ``prior_dominated``,
            ``diverged``.
        reason: The number that shows it; None when *status* is ``ok``.
        seconds: Wall time.
        parameters: Number of parameters sampled.
        chains: How chains were run: ``together``, or ``one by one`` with the reason.
        notes: What else to know: examples left out, integers converted, parameters without effect.
        metrics: Everything that was measured.
        excess: t (L - L0) of every draw, ``(draws, chains)``.
        controlled: The same with control variates; its mean is *llc*.
        distance: ``|w - w*|`` of every draw, ``(draws, chains)``.
    """

    llc: float
    se: float
    status: str
    reason: str | None
    seconds: float
    parameters: int
    chains: str
    notes: tuple[str, ...]
    metrics: Mapping[str, Any]
    excess: np.ndarray[Any, Any]
    controlled: np.ndarray[Any, Any]
    distance: np.ndarray[Any, Any]

    def __str__(self) -> str:
        text = f"LLC {self.llc:.4g} ± {self.se:.2g} ({self.status}"
        text += f": {self.reason})" if self.reason else ")"
        return f"{text}, {self.parameters:,} parameters" + "".join(f"\n  note: {note}" for note in self.notes)

    @property
    def draws(self) -> dict[str, np.ndarray[Any, Any]]:
        """The draws as ``(chains, draws)`` by name, for ``arviz.from_dict(found.draws)`` and the like."""
        return {name: getattr(self, name).T for name in ("excess", "controlled", "distance")}

    def plot(self, path: str | Path) -> None:
        """Draw the loss trace, the running estimate and the distance from the centre, as a PNG."""
        from parsl_optuna.report.plots import estimate_picture  # noqa: PLC0415
        from parsl_optuna.store.atomic import write_bytes  # noqa: PLC0415

        picture = estimate_picture(self.excess, self.controlled, self.distance, self.llc, self.se)
        write_bytes(Path(path), picture)


def estimate_llc(
    model: nn.Module,
    loss: Callable[..., Tensor],
    data: Any,
    *,
    parameters: Parameters = None,
    n_beta: float | None = None,
    gamma: float = 1.0,
    kernel: Literal["langevin", "hmc", "sgld"] = "langevin",
    relative_error: float = 0.005,
    budget_sec: float = 60.0,
    polish: bool = False,
    precision: Literal["float64", "float32"] = "float64",
    seed: int = 0,
    device: str | None = None,
    memory_gb: float | None = None,
) -> Estimate:
    """Estimate the local learning coefficient at the weights of *model* (Lau et al. 2023, arXiv:2308.12108).

    Step size, burn-in and number of draws are chosen automatically. The model is copied, not changed.
    docs/estimate.md, "Your own model", says more of every argument.

    Args:
        model: A trained model, which runs in evaluation mode, with its buffers as they are.
        loss: ``(outputs, y) -> ()`` or ``(model, batch) -> ()``: a mean over examples, which is checked.
        data: Inputs ``(n, ...)`` and targets ``(n, ...)`` as a pair of tensors or arrays; a Dataset; a
            DataLoader; or any nesting of mappings and tuples of tensors, for a loss of (model, batch).
        parameters: What is sampled, all else held (the restricted LLC): a name or pattern, a submodule, a
            list of these, or a mapping of names to boolean masks. By default what requires a gradient.
        n_beta: t, the factor on the loss; n / ln n by default.
        gamma: Precision of the localiser gamma/2 |w - w*|^2.
        kernel: ``langevin`` takes most from a gradient; ``hmc`` has no error of discretisation; ``sgld``
            uses minibatches.
        relative_error: Stop once the standard error is this share of the LLC.
        budget_sec: Or after this number of seconds, reading and *polish* included.
        polish: Move the weights to a stationary point first; a negative LLC shows that they are not at one.
        precision: Of the sampler; the centre is always examined in float64.
        seed: Of all randomness.
        device: ``cpu``, ``cuda`` or ``mps``; by default that of the model.
        memory_gb: GiB that data, chains and passes may take together; no limit by default.

    Raises:
        SpecError: Data, loss or a number that cannot be.
    """
    if isinstance(budget_sec, bool) or not isinstance(budget_sec, Real) or not budget_sec > 0:
        raise SpecError(f"budget_sec {budget_sec!r} must be a number above 0")
    deadline = Deadline(float(budget_sec))
    from parsl_optuna.tasks.llc.api import Settings, run  # noqa: PLC0415

    wanted = Settings(
        n_beta, gamma, kernel, relative_error, polish, precision, seed, parameters, device, memory_gb
    )
    try:
        found = run(model, loss, data, wanted, deadline)
    except Expired as error:
        raise SpecError(
            f"budget_sec {budget_sec:g}: used up before model and data were read; give more"
        ) from error
    return _estimate(found, deadline.used_sec)


def _estimate(found: Result, seconds: float) -> Estimate:
    metrics = found.metrics
    return Estimate(
        metrics["llc_hat"],
        metrics["se_hat"],
        metrics["status"],
        metrics["status_reason"],
        seconds,
        metrics["parameters"],
        metrics["chains"],
        tuple(metrics["notes"]),
        metrics,
        found.excess,
        found.controlled,
        found.distance,
    )
