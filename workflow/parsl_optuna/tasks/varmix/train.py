"""Training in chunks: each ends with measures that are told, and can be the last."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor

from parsl_optuna.core.errors import TaskError
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.load import structure
from parsl_optuna.kernels.device import device_of, one_core
from parsl_optuna.kernels.optimiser import adam_state, restore_adam
from parsl_optuna.kernels.snapshot import dumps, loads
from parsl_optuna.tasks.base import Metrics, Work
from parsl_optuna.tasks.pictures import leave
from parsl_optuna.tasks.varmix import measure
from parsl_optuna.tasks.varmix.images import Images, split
from parsl_optuna.tasks.varmix.model import (
    Mixture,
    kl,
    least_squares_rho,
    linear_term,
    penalty,
    sampled_psi,
    score_term,
)
from parsl_optuna.tasks.varmix.params import Params

_CHUNKS = 20
"""Reports per run, for curves and pruners; a checkpoint fits between any two."""

_QUICK_DRAWS, _FINAL_DRAWS = 2000, 10000
"""Prior draws for a report and for the result: relative errors of 2 % and 1 % of a mean with unit
variation.
"""

_CLUSTERS_SHOWN = 12

_ELBO_SAMPLES = 64
"""Draws per test image: the mean over thousands of images needs no more."""

_PER_LATENT = 5
"""Prior draws per unit for the least-squares rho."""


class Trainer:
    """Model, optimiser and randomness of one run, on the device of the images and of *stream*."""

    def __init__(self, images: Images, params: Params, stream: Generator) -> None:
        self.images, self.params, self.stream = images, params, stream
        self.model = Mixture(
            images.train.mean(0),
            params.n_latent,
            params.n_clusters,
            full=params.interaction == "full",
            stream=stream,
        )
        self._weights: list[Tensor] = [one for one in self.model.parameters() if one.numel()]
        rest = [one for one in self._weights if one is not self.model.rho]
        groups: list[dict[str, Any]] = [{"params": rest}]
        if params.mode == "gradient":
            groups.append({"params": [self.model.rho]})
        self.optimiser = torch.optim.Adam(groups, lr=params.learning_rate)
        self.step = 0

    def rho(self) -> Tensor:
        """Return the conjugation parameters: the learned ones, or those that fit best now."""
        if self.params.mode == "gradient":
            return self.model.rho
        draws = self.model.prior_samples(_PER_LATENT * self.params.n_latent, self.stream)
        return least_squares_rho(self.model, *draws)

    def advance(self) -> float:
        """Make one step; return the loss."""
        params, model = self.params, self.model
        self._set_rates()
        size, device = len(self.images.train), self.stream.device
        index = torch.randint(size, (params.batch_size,), generator=self.stream, device=device)
        x, rho = self.images.train[index], self.rho()
        posterior = model.posterior(x, rho)
        psi, log_q = sampled_psi(model, posterior, params.samples, self.stream)
        beta = _ramp(self.step, params.kl_warmup_steps)
        bound = linear_term(model, x, posterior) - psi.mean(1) - beta * kl(model, posterior)
        loss = -(bound + score_term(psi, log_q)).mean()
        loss = loss - params.entropy_weight * _entropy(model.log_prior.exp())
        loss = loss - params.posterior_entropy_weight * _entropy(posterior.log_q.exp().mean(0))
        if params.conj_weight > 0:
            ramp = params.kl_warmup_steps if params.conj_warmup_steps is None else params.conj_warmup_steps
            y, k = model.prior_samples(params.prior_samples, self.stream)
            loss = loss + _ramp(self.step, ramp) * params.conj_weight * penalty(model, rho, y, k)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def _set_rates(self) -> None:
        rate = self.params.learning_rate * _ramp(self.step + 1, self.params.lr_warmup_steps)
        for group, factor in zip(self.optimiser.param_groups, (1.0, self.params.rho_lr), strict=False):
            group["lr"] = factor * rate

    @torch.no_grad()
    def measures(self, draws: int, stream: Generator) -> dict[str, Any]:
        """Measure on the held-out images, with randomness that training does not see."""
        images, model = self.images, self.model
        rho = self.rho_for_measures(stream)
        assigned = model.posterior(images.test, rho).log_q.argmax(1).cpu()
        found = measure.clusters(assigned, images.test_labels, self.params.n_clusters)
        found |= measure.conjugation(model, rho, draws, stream)
        return found | {"nmi_loss": 1 - found["nmi"], "r2_loss": 1 - found["r2"]}

    def rho_for_measures(self, stream: Generator) -> Tensor:
        """Return the conjugation parameters, solved for on many draws where they are not learned."""
        if self.params.mode == "gradient":
            return self.model.rho.detach()
        return least_squares_rho(self.model, *self.model.prior_samples(_FINAL_DRAWS, stream)).detach()

    @torch.no_grad()
    def pictures(self, rho: Tensor) -> dict[str, Any]:
        """Return arrays for `tasks.pictures`: clusters' mean held-out images, and how many each has."""
        assigned = self.model.posterior(self.images.test, rho).log_q.argmax(1).cpu()
        images = self.images.test.cpu()
        sizes = torch.bincount(assigned, minlength=self.params.n_clusters)
        pixels = images.shape[1]
        side, used = math.isqrt(pixels), [int(one) for one in sizes.argsort(descending=True) if sizes[one]]
        found = {"sizes_of_clusters": sizes[used].float().numpy()}
        if side * side == pixels:
            means = torch.stack([images[assigned == one].mean(0) for one in used[:_CLUSTERS_SHOWN]])
            found["means_of_the_largest_clusters"] = means.reshape(1, -1, side, side).float().numpy()
        return found

    def state(self) -> dict[str, Any]:
        """Return everything that a later attempt needs."""
        return {
            "model": self.model.state_dict(),
            "adam": adam_state(self.optimiser, self._learned()),
            "random": self.stream.get_state(),
            "step": self.step,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.model.load_state_dict(state["model"])
        restore_adam(self.optimiser, self._learned(), state["adam"])
        self.stream.set_state(state["random"])
        self.step = state["step"]

    def _learned(self) -> list[Tensor]:
        return [one for group in self.optimiser.param_groups for one in group["params"]]


def run(work: Work) -> Metrics:
    """Train, measure, and put simpler models beside it."""
    assert work.prepared is not None
    one_core()
    params = structure(Params, dict(work.params), "varmix")
    device = device_of(work.problem.get("device", "cpu"))
    images = split(work.problem, work.prepared)
    seed = derive_seed("varmix", params.seed, work.replicate)
    trainer = Trainer(images.to(device), params, Generator(device).manual_seed(seed % 2**63))
    saved = work.checkpoint.load()
    if saved is not None:
        trainer.restore(loads(saved))
    chunk = max(params.n_steps // _CHUNKS, 1)
    while trainer.step < params.n_steps and not work.deadline.expired:
        loss = trainer.advance()
        if not math.isfinite(loss):
            raise TaskError(f"the loss is {loss} in step {trainer.step}; a smaller learning_rate may help")
        if trainer.step % chunk == 0:
            told = trainer.measures(_QUICK_DRAWS, Generator(device).manual_seed(trainer.step))
            work.report(trainer.step, told | {"loss": loss})
        if work.checkpoint.due():
            work.checkpoint.save(dumps(trainer.state()))
    work.checkpoint.keep(lambda: dumps(trainer.state()))
    last = Generator(device).manual_seed((seed + 1) % 2**63)
    found = trainer.measures(_FINAL_DRAWS, last)
    rho = trainer.rho_for_measures(last)
    leave(work.files, trainer.pictures(rho))
    return {
        **found,
        "elbo": measure.elbo(trainer.model, rho, trainer.images.test, _ELBO_SAMPLES, last),
        **measure.baselines(images, params.n_clusters, params.seed),
        "steps_run": trainer.step,
        "truncated": trainer.step < params.n_steps,
    }


def _ramp(step: int, length: int) -> float:
    return min(1.0, step / max(length, 1))


def _entropy(p: Tensor) -> Tensor:
    p = p.clamp(1e-10, 1.0)
    return -(p * p.log()).sum()
