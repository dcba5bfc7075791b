"""One checkpoint: build the user's model, load its weights, estimate its LLC."""

from __future__ import annotations

from typing import Any

from parsl_optuna.core.clock import Expired
from parsl_optuna.core.errors import TaskError
from parsl_optuna.kernels.device import devices_named, one_core
from parsl_optuna.store.files import mentioned, provide
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Metrics, Work
from parsl_optuna.tasks.llc.api import Settings
from parsl_optuna.tasks.llc.api import run as estimate
from parsl_optuna.tasks.llc.engine.auto import save_trace
from parsl_optuna.tasks.llc.problem.checkpoints import models
from parsl_optuna.tasks.user_module import load


def run(work: Work) -> Metrics:
    """Estimate the LLC at the checkpoint that ``work.params`` names, and leave ``trace.npz`` for pictures."""
    one_core()
    given = dict(work.params)
    name = str(given.pop("checkpoint"))
    if given["device"] is not None:
        devices_named(str(given["device"]))  # before the user's function runs
    checkpoint = source.unchanged(name, str(given.pop("digest")), work.launch)
    model, loss, data = _posed(work)
    ((_, loaded),) = models(model, {name: checkpoint})
    settings = Settings(seed=work.seed, **given)  # pyright: ignore[reportArgumentType]  checked when planned
    try:
        found = estimate(loaded, loss, data, settings, work.deadline)
    except Expired as error:
        raise TaskError(
            f"the budget was used up by {error.phase or 'reading'}, before anything was sampled; give more"
        ) from error
    if work.files is not None and len(found.excess):
        shown = {name: getattr(found, name) for name in ("excess", "controlled", "distance")}
        save_trace(shown, work.files)
    return found.metrics


def _posed(work: Work) -> tuple[Any, Any, Any]:
    """Call the user's function."""
    name, _, function = work.problem["function"].rpartition(":")
    path = source.unchanged(name, work.problem["checksum"], work.launch)
    if work.files is not None:
        provide(mentioned([path], work.launch), work.launch, work.files)
    given = getattr(load(path, work.problem["checksum"], work.launch), function)()
    if not isinstance(given, tuple) or len(given) != 3:
        raise TaskError(f"{function} in {name} returned a {type(given).__name__}; return (model, loss, data)")
    return given
