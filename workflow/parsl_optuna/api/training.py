"""The local learning coefficient along training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl_optuna.api.estimate import Estimate, estimate_llc

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from parsl_optuna.tasks.llc.problem.folder import Label


@dataclass(frozen=True)
class Trajectory:
    """LLC of several checkpoints.

    Attributes:
        labels: Of the checkpoints that have an estimate: steps, epochs or names.
        estimates: One per label.
        refused: Labels of other checkpoints, and why they have none.
    """

    labels: tuple[Label, ...]
    estimates: tuple[Estimate, ...]
    refused: tuple[tuple[Label, str], ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row per checkpoint: its loss L0, LLC, standard error, status with its reason, and seconds.

        Those that were refused stand at the end.
        """
        import pandas as pd  # noqa: PLC0415

        rows = [row(found) for found in self.estimates]
        rows += [{"status": "refused", "reason": reason} for _, reason in self.refused]
        labels = [*self.labels, *(label for label, _ in self.refused)]
        return pd.DataFrame({"checkpoint": labels}).join(pd.DataFrame(rows))

    def __str__(self) -> str:
        lines = [f"{label}: {found}" for label, found in zip(self.labels, self.estimates, strict=True)]
        lines += [f"{label}: refused: {reason}" for label, reason in self.refused]
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Draw LLC and loss against the checkpoints, as a PNG; hollow where the status is not ok."""
        from parsl_optuna.report.plots import series_picture  # noqa: PLC0415
        from parsl_optuna.store.atomic import write_bytes  # noqa: PLC0415

        write_bytes(Path(path), series_picture(self.table, "checkpoint", "loss"))


def row(found: Estimate) -> dict[str, Any]:
    """Return what a table has of one estimate."""
    return {
        "loss": found.metrics["L0"],
        "llc": found.llc,
        "se": found.se,
        "status": found.status,
        "reason": found.reason,
        "seconds": found.seconds,
    }


def estimate_over(
    checkpoints: Any,
    model: nn.Module,
    loss: Callable[..., Tensor],
    data: Any,
    *,
    budget_sec: float = 60.0,
    **settings: Any,
) -> Trajectory:
    """Estimate the local learning coefficient at every checkpoint of a training run.

    Data are read once. Checkpoints of an iterator are taken one at a time, so that a training loop may yield
    its own weights.

    Args:
        checkpoints: A folder of files of `torch.save`; a mapping of labels to checkpoints; or an iterable of
            checkpoints, or of pairs of label and checkpoint. A checkpoint is a state dict, a module or a
            path.
        model: Of the architecture of all.
        loss: As in `estimate_llc`.
        data: As in `estimate_llc`.
        budget_sec: Seconds per checkpoint.
        settings: Other arguments of `estimate_llc`.

    Raises:
        SpecError: As in `estimate_llc`, and checkpoints that cannot be read or do not fit the model. Once
            there is an estimate, a checkpoint of which this holds is among the refused ones instead.
    """
    from parsl_optuna.core.clock import Deadline  # noqa: PLC0415
    from parsl_optuna.core.errors import SpecError  # noqa: PLC0415
    from parsl_optuna.tasks.llc.problem.checkpoints import loaders  # noqa: PLC0415
    from parsl_optuna.tasks.llc.problem.examples import read  # noqa: PLC0415

    memory = settings.get("memory_gb") or math.inf
    examples = read(data, Deadline(budget_sec), 2**30 * memory)
    labels: list[Label] = []
    estimates: list[Estimate] = []
    refused: list[tuple[Label, str]] = []
    for label, load in loaders(model, checkpoints):
        try:
            found = estimate_llc(load(), loss, examples, budget_sec=budget_sec, **settings)
        except SpecError as error:
            if not estimates:  # all may have it, and nothing is lost
                raise
            refused.append((label, str(error)))
        else:
            labels.append(label)
            estimates.append(found)
    return Trajectory(tuple(labels), tuple(estimates), tuple(refused))
