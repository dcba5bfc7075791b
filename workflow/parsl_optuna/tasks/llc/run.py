"""One trial of the task: load the problem, run the method, keep what a longer trial continues from."""

from __future__ import annotations

from functools import partial

from torch import Generator, Tensor

from parsl_optuna.kernels.device import one_core
from parsl_optuna.tasks.base import Metrics, Work
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.target import load
from parsl_optuna.tasks.llc.samplers import methods, parse


def run(work: Work) -> Metrics:
    """Estimate the LLC of ``work.problem`` with ``work.method``."""
    assert work.prepared is not None
    one_core()
    estimand = Estimand(load(work.problem, work.prepared))
    stream = Generator().manual_seed(work.seed)
    stages = Stages(work.checkpoint, stream, estimand, partial(_report, work))
    metrics = methods()[work.method].run(estimand, parse(work.method, work.params), stages, work)
    stages.close()
    return metrics


def _report(work: Work, steps: int, excess: Tensor) -> None:
    """Report the running estimate, for pruners and curves."""
    work.report(steps, {"llc_hat": float(excess.mean()), "draws": len(excess)})
