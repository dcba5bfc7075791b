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
from parsl_optuna.tasks.pictures import leave

_TRACE = "trace_of_t_(L_-_L0)"
_PICTURE_DRAWS, _PICTURE_CHAINS = 256, 4
"""Of a trace: 4 KB per trial."""


def run(work: Work) -> Metrics:
    """Estimate the LLC of ``work.problem`` with ``work.method``."""
    assert work.prepared is not None
    one_core()
    estimand = Estimand(load(work.problem, work.prepared))
    stream = Generator(estimand.centre.device).manual_seed(work.seed)
    stages = Stages(work.checkpoint, stream, estimand, partial(_report, work))
    metrics = methods()[work.method].run(estimand, parse(work.method, work.params), stages, work)
    stages.close()
    if stages.last_draws is not None:
        draws = stages.last_draws()[1]
        every = -(-len(draws) // _PICTURE_DRAWS) or 1
        leave(work.files, {_TRACE: draws[::every, :_PICTURE_CHAINS].float().cpu().numpy()})
    return metrics


def _report(work: Work, steps: int, excess: Tensor) -> None:
    """Report the running estimate, for pruners and curves."""
    work.report(steps, {"llc_hat": float(excess.mean()), "draws": len(excess)})
