"""How the local learning coefficient depends on the localization prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.api.estimate import Estimate, estimate_llc
from parsl_optuna.api.training import row
from parsl_optuna.core.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

_FACTORS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Of the precision at which the prior is as wide as the weights are large: widths of 10 to 0.1 times that."""


@dataclass(frozen=True)
class GammaSweep:
    """LLC for several precisions of the localization prior.

    Attributes:
        gammas: Precisions, from small to large.
        estimates: One each.
    """

    gammas: tuple[float, ...]
    estimates: tuple[Estimate, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row per gamma.

        Beside LLC, error and status: ``width``, 1/sqrt(gamma), of the prior; ``filled``, the share of it that
        the posterior has, sqrt(gamma E|w - w*|^2 / parameters); and ``slope``, d ln LLC / d ln gamma. Both
        are nan of a normal approximation that is not near the posterior.
        """
        import pandas as pd  # noqa: PLC0415

        rows = [
            {
                "gamma": gamma,
                "width": gamma**-0.5,
                "filled": _known(found, "prior_width_filled"),
                "slope": -_known(found, "prior_sensitivity"),
                **row(found),
            }
            for gamma, found in zip(self.gammas, self.estimates, strict=True)
        ]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        shown = self.table[["gamma", "width", "filled", "slope", "llc", "se", "status"]]
        return shown.to_string(index=False, float_format="{:.3g}".format)  # pyright: ignore[reportArgumentType]

    def plot(self, path: str | Path) -> None:
        """Draw LLC and filled share against gamma, as a PNG; hollow where the status is not ok."""
        from parsl_optuna.report.plots import series_picture  # noqa: PLC0415
        from parsl_optuna.store.atomic import write_bytes  # noqa: PLC0415

        write_bytes(Path(path), series_picture(self.table, "gamma", "filled", log=True))


def _known(found: Estimate, name: str) -> float:
    """Return what draws show of the posterior; nan where they are of something else."""
    return math.nan if math.isinf(found.bias) else found.metrics["diagnostics"][name]


def gamma_sweep(
    model: nn.Module,
    loss: Callable[..., Tensor],
    data: Any,
    gammas: Sequence[float] | None = None,
    *,
    budget_sec: float = 60.0,
    **settings: Any,
) -> GammaSweep:
    """Estimate the local learning coefficient for several precisions of the localization prior.

    Args:
        model: As in `estimate_llc`.
        loss: As in `estimate_llc`.
        data: As in `estimate_llc`; read once.
        gammas: Precisions. By default five, for priors 10 to 0.1 times as wide as the sampled weights are
            large (root mean square).
        budget_sec: Seconds per gamma.
        settings: Other arguments of `estimate_llc`.

    Raises:
        SpecError: As in `estimate_llc`.
    """
    from parsl_optuna.core.clock import Deadline  # noqa: PLC0415
    from parsl_optuna.tasks.llc.problem.examples import read  # noqa: PLC0415
    from parsl_optuna.tasks.llc.problem.selection import scale  # noqa: PLC0415

    if "gamma" in settings:
        raise SpecError("gamma: is what is varied here; give gammas=[...]")
    if gammas is None:
        precision = scale(model, settings.get("parameters")) ** -2
        gammas = [float(f"{factor * precision:.1g}") for factor in _FACTORS]
    gammas = sorted(gammas)
    if not gammas:
        raise SpecError("gammas: an empty list; give numbers above 0")
    examples = read(data, Deadline(budget_sec), 2**30 * (settings.get("memory_gb") or math.inf))
    estimates = [
        estimate_llc(model, loss, examples, gamma=gamma, budget_sec=budget_sec, **settings)
        for gamma in gammas
    ]
    return GammaSweep(tuple(gammas), tuple(estimates))
