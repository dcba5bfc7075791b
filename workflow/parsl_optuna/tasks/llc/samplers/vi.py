"""Variational inference with a mixture of factor analysers, and the loss under the fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from parsl_optuna.core.space import Categorical, Dimension, Float, Int
from parsl_optuna.tasks.llc.samplers.base import Method, batches, check_positive, later

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

    from parsl_optuna.kernels import vi
    from parsl_optuna.tasks.base import Metrics, Work
    from parsl_optuna.tasks.llc.answer import evaluation, summary, verdict
    from parsl_optuna.tasks.llc.engine.stages import Stages
    from parsl_optuna.tasks.llc.problem.estimand import Estimand
else:
    torch, vi = later("torch", "kernels.vi")
    evaluation, summary, verdict = later(
        *(f"tasks.llc.answer.{name}" for name in ("evaluation", "summary", "verdict"))
    )

_TRAINING_SHARE = 0.9
"""Of the budget, for the fit; the rest is for the evaluation."""

_INITIAL_WIDTH = 0.3
"""Fits start narrower than a diagonal Laplace approximation: widening is stable, narrowing is not."""

_REPORTED_DRAWS = 4
"""Draws from each fit for the running estimate; more would cost as much as several steps."""

_WHITENING_BATCHES = 200
"""Minibatch gradients that whitening averages: two memories of the decay 0.99."""

_DECAY = {"rmsprop": 0.99, "adam": 0.999}
"""Decay of the second moments; the usual defaults of the optimisers of these names."""

_RELATIVE_FLOOR = 1e-3
"""Of the mean second moment, added to each: a coordinate without gradient gets at most 5.6 times the mean
scale.
"""


@dataclass(frozen=True)
class Params:
    """A mixture of M factor analysers of rank r, fitted *chains* times independently."""

    chains: int = 4
    lr: float = 1e-2
    M: int = 8
    r: int = 2
    own_diagonal: bool = True
    whitening_mode: Literal["none", "rmsprop", "adam"] = "none"
    steps: int = 5000
    batch_size: int = 256
    eval_samples: int = 1024

    def __post_init__(self) -> None:
        check_positive(self, "chains", "lr", "M", "r", "steps", "batch_size", "eval_samples")


def space(n: int) -> dict[str, Dimension]:
    """Return the default search space."""
    return {
        "lr": Float(1e-4, 1e-1, log=True),
        "M": Categorical((4, 8, 16)),
        "r": Categorical((1, 2, 4)),
        "whitening_mode": Categorical(("none", "rmsprop", "adam")),
        "steps": Int(2000, 10000, step=500),
        "batch_size": Categorical(batches(n)),
    }


def run(estimand: Estimand, params: Params, stages: Stages, work: Work) -> Metrics:
    """Fit the mixtures, then evaluate the loss under each with a quadratic control variate."""
    settings = vi.Params(
        params.lr,
        params.steps,
        params.M,
        params.r,
        params.own_diagonal,
        estimand.centre,
        _whitening(estimand, params, stages.stream),
        _INITIAL_WIDTH * estimand.start_variances().sqrt(),
    )
    fit = vi.build(estimand.stochastic_energy(params.batch_size), settings)
    state = fit.init(estimand.centre.expand(params.chains, -1), stages.stream)

    def step(state: vi.State) -> vi.State:
        return fit.step(state, stages.stream)[0]

    def draws(state: vi.State, stream: Generator) -> Tensor:
        w = vi.sample(state, stream, _REPORTED_DRAWS, params=settings)
        return estimand.excess(w.reshape(-1, estimand.dim)).reshape(w.shape[:2]).T

    state, done = stages.count(step, state, params.steps, work.deadline.part(_TRAINING_SHARE), draws)
    seen = evaluation.evaluate(estimand, settings, state, params.eval_samples, stages.stream, work.deadline)
    weight = state.mixture.logits.softmax(-1)
    found = summary.Draws(
        seen.traces,
        seen.lost,
        n_steps=done,
        truncated=done < params.steps or seen.truncated,
        settings={
            "elbo": float(state.elbo.mean()),
            "free_energy": seen.free_energy,
            "component_entropy": float(-(weight * weight.log()).sum(-1).mean()),
            "control_variate": seen.control,
            "llc_corrected": seen.corrected.value,
            "se_corrected": seen.corrected.se,
            "khat": seen.corrected.khat,
        },
        nature=verdict.Nature(is_fit=True),
    )
    metrics = summary.summarise(estimand, found, verdict.TRIAL_GATE, seen.estimate)
    return {**metrics, "elbo": -seen.free_energy * estimand.dim}


def _whitening(estimand: Estimand, params: Params, stream: Generator) -> Tensor:
    """Return the first guess S ``(dim,)`` of the posterior standard deviations.

    ``none`` takes one scale for all; ``rmsprop`` and ``adam`` give each coordinate a scale
    v^(-1/4), v the second moment of minibatch gradients (decay 0.99, 0.999), of the same
    geometric mean.
    """
    scale = estimand.start_variances().mean().sqrt()
    flat = scale.expand(estimand.dim)
    if params.whitening_mode == "none":
        return flat
    decay = _DECAY[params.whitening_mode]
    gradient_of = estimand.stochastic_loss(params.batch_size)
    starts = estimand.starts(params.chains, stream)
    second, total = torch.zeros_like(flat), 0.0
    for _ in range(_WHITENING_BATCHES):
        square = gradient_of(starts, stream)[1].square().mean(0)
        second, total = decay * second + (1 - decay) * square, decay * total + (1 - decay)
    second = second / total
    shape = (second + _RELATIVE_FLOOR * second.mean() + torch.finfo(second.dtype).tiny) ** -0.25
    return scale * shape / shape.log().mean().exp()


METHOD = Method(Params, space, run, extends="steps")
