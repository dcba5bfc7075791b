"""The local learning coefficient of a trained model, in one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from parsl_optuna.api.observables import Array, Moment, Observable, correlation, covariance, mean
from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.core.errors import SpecError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from parsl_optuna.tasks.llc.api import Result
    from parsl_optuna.tasks.llc.problem.selection import Parameters


_SHOWN_BIAS = 0.1
"""Of the standard error; what is smaller widens an interval by half a percent."""


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
        controlled: The same with control variates; its mean is *llc*, but for draws that were weighted.
        distance: ``|w - w*|`` of every draw, ``(draws, chains)``.
        observables: What was asked for, by name.
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
    excess: Array
    controlled: Array
    distance: Array
    observables: Mapping[str, Observable] = field(default_factory=dict)

    def __str__(self) -> str:
        error = "?" if math.isinf(self.bias) else f"{self.se:.2g}"  # of a number that may be anywhere
        text = f"LLC {self.llc:.4g} ± {error}"
        is_shown = _SHOWN_BIAS * self.se < self.bias < math.inf
        text += f", bias about {self.bias:.2g}" if is_shown else ""
        text += f" ({self.status}"
        text += f": {self.reason})" if self.reason else ")"
        text += f", {self.parameters:,} parameters"
        text += f", on {self.device}" if "," in self.device else ""
        return text + "".join(f"\n  note: {note}" for note in self.notes)

    @property
    def device(self) -> str:
        """Where it was computed; several devices with commas between them."""
        return self.metrics["device"]

    @property
    def bias(self) -> float:
        """How far the LLC may be off beside its standard error, as far as that shows; inf if nobody knows."""
        known = self.metrics["bias"]
        return math.inf if known is None else known

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the LLC, bias included."""
        half = 1.96 * math.hypot(self.se, self.bias)
        return self.llc - half, self.llc + half

    @property
    def draws(self) -> dict[str, Array]:
        """The draws ``(chains, draws, *shape)`` by name, for ``arviz.from_dict({"posterior": found.draws})``.

        ``excess``, ``controlled`` and ``distance``, and all observables.
        """
        own = {name: getattr(self, name) for name in ("excess", "controlled", "distance")}
        seen = own | {name: observable.values for name, observable in self.observables.items()}
        return {name: values.swapaxes(0, 1) for name, values in seen.items()}

    def covariance(self, first: str, second: str) -> Moment:
        """Return the posterior covariance of two observables; ``loss`` is the loss on the data.

        Args:
            first: Name of an observable of any shape.
            second: Another, or the same.

        Returns:
            Arrays ``(*shape of first, *shape of second)``.
        """
        return covariance(self._values(first), self._values(second))

    def correlation(self, first: str, second: str) -> Moment:
        """Return the posterior correlation of two observables, as `covariance`; nan where one is constant."""
        return correlation(self._values(first), self._values(second))

    def influence(self, examples: str, on: str = "loss") -> Moment:
        """Return the Bayesian influence of examples, -Cov(loss of an example, observable).

        It is the derivative of the observable's mean by the weight of that example in t L, which is n beta/n
        for all (Kreer et al. 2025, arXiv:2509.26544). Negative: more of the example lowers the observable.

        Args:
            examples: Name of an observable that is data: losses ``(n,)``.
            on: Name of any observable.

        Returns:
            Arrays ``(n, *shape of on)``.
        """
        found = self.covariance(examples, on)
        return Moment(-found.value, found.se)

    def susceptibility(self, examples: str, full: Estimate | None = None) -> Moment:
        """Return the response of L - L(w*) to data with more of each example, -Cov(L, loss of it - L).

        Times t, it is the derivative of the mean of L - L(w*) where a share of the data is replaced by that
        example. For a component of a model, sample it with ``parameters=`` (Baker et al. 2025,
        arXiv:2504.18274).

        Args:
            examples: Name of an observable that is data: losses ``(n,)``.
            full: An estimate with all parameters and the same observable. With it the mean of what
                multiplies L - L(w*) is that of the full posterior, as in the paper.

        Returns:
            Arrays ``(n,)``.
        """
        loss, values = self._values("loss"), self._values(examples)
        differences = values - loss.reshape(*loss.shape, *(1 for _ in values.shape[2:]))
        if full is None:
            found = covariance(loss, differences)
            return Moment(-found.value, found.se)
        theirs, theirs_loss = full._values(examples), full._values("loss")
        if not np.allclose(self.observables[examples].centre, full.observables[examples].centre, rtol=1e-3):
            raise SpecError(
                f"full: '{examples}' has other losses at w* there; give both the same data and model"
            )
        shift = mean(theirs - theirs_loss.reshape(*theirs_loss.shape, *(1 for _ in theirs.shape[2:])))
        excess = loss.reshape(*loss.shape, *(1 for _ in values.shape[2:])) - self.metrics["L0"]
        found = mean(excess * (differences - shift.value))
        return Moment(-found.value, np.hypot(found.se, excess.mean() * shift.se))

    def _values(self, name: str) -> Array:
        """Return an observable ``(draws, chains, *shape)``."""
        if name == "loss":
            return self.metrics["L0"] + self.excess / (self.metrics["beta"] * self.metrics["n"])
        if name not in self.observables:
            raise SpecError(f"no observable '{name}'; {nearest(name, ['loss', *self.observables])}")
        return self.observables[name].values

    def save(self, path: str | Path) -> None:
        """Write the draws as Parquet: a row per chain and draw, a column per observable.

        Observables that are no single numbers are lists, in C order; the file's metadata has their shapes as
        JSON, and LLC, error and status. `pandas.read_parquet` and Arrow read it.
        """
        from parsl_optuna.api.observables import parquet  # noqa: PLC0415
        from parsl_optuna.store.atomic import write_bytes  # noqa: PLC0415

        said = {"llc": self.llc, "se": self.se, "status": self.status, "reason": self.reason}
        write_bytes(Path(path), parquet(self.draws, said))

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
    kernel: Literal["langevin", "hmc", "nuts", "sgld", "laplace", "smc"] = "langevin",
    relative_error: float = 0.005,
    budget_sec: float = 60.0,
    polish: bool = False,
    precision: Literal["float64", "float32"] = "float64",
    seed: int = 0,
    device: str | Sequence[str] | None = None,
    memory_gb: float | None = None,
    observables: Mapping[str, Any] | None = None,
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
        gamma: Precision of the localization prior, ``gamma/2 |w - w*|^2``.
        kernel: ``langevin`` takes most from a gradient; ``hmc`` and ``nuts`` are exact; ``sgld`` uses
            minibatches; ``laplace`` and ``smc`` weigh draws and populations, without chains.
        relative_error: Stop once the standard error is this share of the LLC.
        budget_sec: Or after this number of seconds, reading and *polish* included.
        polish: Move the weights to a stationary point first; a negative LLC shows that they are not at one.
        precision: Of the sampler; the centre is always examined in float64.
        seed: Of all randomness.
        device: ``cpu``, ``cuda``, ``mps``; by default that of the model. A list of several spreads chains.
        memory_gb: GiB of a device that data, chains and passes may take together; no limit by default.
        observables: What to record along the draws, by name: a function ``(model) -> value`` of any shape, a
            pair of a function ``(model, batch) -> value`` and its data, or data alone, of which the loss of
            every example is recorded.

    Raises:
        SpecError: Data, loss or a number that cannot be.
    """
    deadline = _deadline(budget_sec)  # first, so that imports are in it
    from parsl_optuna.tasks.llc.api import Settings, run  # noqa: PLC0415

    sampling = (n_beta, gamma, kernel, relative_error, polish, precision, seed)
    wanted = Settings(*sampling, parameters, device, memory_gb, observables)
    try:
        return _estimate(run(model, loss, data, wanted, deadline), deadline)
    except Expired as error:
        raise SpecError(
            f"budget_sec {budget_sec:g}: used up by {error.phase or 'reading'}, before anything was sampled; "
            f"give more, such as {10.0 * budget_sec:g}"
        ) from error


def _deadline(budget_sec: float) -> Deadline:
    if isinstance(budget_sec, bool) or not isinstance(budget_sec, Real) or not budget_sec > 0:
        raise SpecError(f"budget_sec {budget_sec!r} must be a number above 0")
    return Deadline(float(budget_sec))


def _estimate(found: Result, deadline: Deadline) -> Estimate:
    metrics = found.metrics
    return Estimate(
        metrics["llc_hat"],
        metrics["se_hat"],
        metrics["status"],
        metrics["status_reason"],
        deadline.used_sec,
        metrics["parameters"],
        metrics["chains"],
        tuple(metrics["notes"]),
        metrics,
        found.excess,
        found.controlled,
        found.distance,
        {name: Observable(values, found.centre[name]) for name, values in found.observables.items()},
    )
