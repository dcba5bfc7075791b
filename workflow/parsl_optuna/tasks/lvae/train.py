"""Training with dynamic pruning, exact to the last digit when it goes on from a checkpoint."""

from __future__ import annotations

import io
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from parsl_optuna.core.clock import Deadline
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.load import structure
from parsl_optuna.kernels.device import device_of, one_core
from parsl_optuna.kernels.optimiser import adam_state, restore_adam
from parsl_optuna.kernels.snapshot import dumps, loads
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.tasks.base import Metrics, Work
from parsl_optuna.tasks.lvae import axes, judge, pictures
from parsl_optuna.tasks.lvae.intrinsic import intrinsic_dim
from parsl_optuna.tasks.lvae.model import Decoder, encoder
from parsl_optuna.tasks.lvae.params import Params
from parsl_optuna.tasks.lvae.pruning import GIVEN_BACK, Pruner, Safeguards
from parsl_optuna.tasks.lvae.strategies import Rule
from parsl_optuna.tasks.lvae.volume import volume, weight
from parsl_optuna.tasks.pictures import leave

_TRAINING_SHARE = 0.8
"""Of the designs; the rest is for validation."""

_LAST_ROUNDS = 200
"""Of power iteration: singular values that differ by 2 % are told apart to 0.03 %."""

_CLOSING_EPOCHS, _CLOSING_RATE = 10, 0.1
"""One round per step leaves the norms up to 5 % too small in training: dividing by the right ones shrinks
every layer. So many epochs at this share of the learning rate were seen to make up for it."""

_GATE = 0.005
"""Normalised error at which the volume has no weight, where a number of dimensions is known. With 0.03 the
error stayed just below it until pruning began: on one set at 0.026, where it was 0.004 without the volume.
"""

_TOLD = ("loss", "rec_loss", "vol_loss")
"""What training tells of an epoch, by the names of the original program."""

_LAST = 0.1
"""Share of the epochs at the end in which a code that goes says that more would have gone."""


@dataclass(frozen=True)
class Designs:
    """Training and validation designs ``(n, 1, side, side)`` or ``(n, length)``.

    Attributes:
        train: For training.
        val: For validation.
        variance: Mean over entries of the training variance.
        spread: Square root of the sum over entries of the training variance.
        intrinsic: Dimension of the training designs by their nearest neighbours, if that can be told.
    """

    train: Tensor
    val: Tensor
    variance: float
    spread: float
    intrinsic: int | None = None

    def to(self, device: torch.device) -> Designs:
        """Return the designs on a device."""
        return replace(self, train=self.train.to(device), val=self.val.to(device))


def load_designs(folder: Path, seed: int) -> Designs:
    """Read what `designs.make` wrote, and split it unless it is."""

    def read(name: str) -> Tensor:
        return torch.from_numpy(np.load(folder / f"{name}.npy", allow_pickle=False))

    if (folder / "train.npy").exists():
        train, val = read("train"), read("val")
    else:
        designs = read("designs")
        order = torch.randperm(len(designs), generator=Generator().manual_seed(seed))
        count = round(_TRAINING_SHARE * len(designs))
        train, val = designs[order[:count]], designs[order[count:]]
    variance = train.var(dim=0)
    dim = intrinsic_dim(train.flatten(1).numpy())
    return Designs(train, val, float(variance.mean()), float(variance.sum().sqrt()), dim)


class Trainer:
    """Model, optimiser and pruning of one run.

    Args:
        designs: What is learnt; the models live on the same device, the pruner's few numbers on the CPU.
        params: Hyperparameters.
        stream: The run's only source of randomness.
        unit_range: Whether designs lie in [0, 1].
    """

    def __init__(self, designs: Designs, params: Params, stream: Generator, *, unit_range: bool) -> None:
        self.designs, self.params, self.stream = designs, params, stream
        shape = tuple(designs.train.shape[1:])
        # The encoder's layers draw from the global stream, which is put back afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=stream)))
            self.encoder = encoder(params.latent_dim, shape, params.width).to(designs.train.device)
        self.decoder = Decoder(
            params.latent_dim,
            shape,
            params.width,
            params.lipschitz,
            bounded=params.use_spectral_norm,
            unit_range=unit_range,
            stream=stream,
        ).to(designs.train.device)
        self._weights = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimiser = torch.optim.Adam(self._weights, lr=params.lr)
        guards = Safeguards(
            params.min_active_dims,
            params.max_prune_per_epoch,
            params.cooldown_epochs,
            params.k_consecutive,
            params.recon_tol,
        )
        rule = Rule(
            params.plummet_threshold,
            params.cdf_threshold,
            params.percentile,
            params.alpha,
            params.temperature,
        )
        self.pruner = Pruner(
            params.latent_dim,
            params.pruning_strategy,
            rule,
            guards,
            params.pruning_epoch,
            params.beta,
            stream,
            designs.intrinsic,
        )
        self.w_v = params.w_v * self._unit_of_weight()
        self.epoch = 0
        self.curve: list[list[float]] = []
        self.told: dict[str, float] = {}

    @torch.no_grad()
    def _unit_of_weight(self) -> float:
        """Return what a weight of one is worth here, in units of the designs' spread against their variance.

        In the original program's units the volume is relative to that of the first batch at the start, and
        the error is the mean squared one.
        """
        if self.params.w_v_units == "spread":
            return 1.0
        first = self.volume(self.encoder(self.designs.train[: self.params.batch_size]))
        return 1.0 / (self.designs.variance * max(float(first), 1e-12))

    def train_epoch(self) -> dict[str, float]:
        """Go through the training designs once; return mean loss, squared error and volume."""
        params, train = self.params, self.designs.train
        w_v = weight(self.epoch, self.w_v, params.polynomial_schedule_n, params.polynomial_schedule_p)
        w_v *= self._share_of_weight()
        self.decoder.train()
        total = torch.zeros(3, dtype=torch.float64)
        for batch in torch.randperm(len(train), generator=self.stream).split(params.batch_size):
            x = train[batch]
            codes = self.encoder(x)
            self.pruner.observe(codes.detach())
            rec = functional.mse_loss(self.decoder(self.pruner.mask(codes)), x) / self.designs.variance
            vol = self.volume(codes)
            loss = rec + w_v * vol
            self.optimiser.zero_grad(set_to_none=False)
            loss.backward()
            self.optimiser.step()
            means = (float(one.detach()) for one in (loss, rec * self.designs.variance, vol))
            total += torch.tensor(tuple(means), dtype=torch.float64) * len(batch)
        return dict(zip(_TOLD, (total / len(train)).tolist(), strict=True))

    def _share_of_weight(self) -> float:
        """Return how much of the weight of the volume counts now.

        Where the number of dimensions is known that pruning goes down to, the volume only has to say which
        ones go. It must not cost the error: without this, whole codes of some sets stayed at nothing.
        """
        if not self.pruner.has_goal:
            return 1.0
        if self.pruner.settled or not self.curve:
            return 0.0
        return max(1.0 - self.curve[-1][0] / _GATE, 0.0)

    @torch.no_grad()
    def prune(self, error: float) -> None:
        """Prune after an epoch with that normalised validation error, along the codes' principal axes.

        Rules that know no number of dimensions prune the codes as they are, as the original program does.
        """
        if self.pruner.goes_on(self.epoch):
            batches = self.designs.train.split(self.params.batch_size)
            codes = torch.cat([self.encoder(batch) for batch in batches])
            rotation, std = axes.principal_axes(codes, self.pruner.active)
            axes.turn(self.encoder, self.decoder.first, self.optimiser, rotation)
            self.pruner.turn(rotation, std)
        self.pruner.step(self.epoch, error)

    def volume(self, codes: Tensor) -> Tensor:
        """Return the volume of *codes*."""
        pruner = self.pruner
        return volume(codes, pruner.active, pruner.frozen_std, self.params.eta, self.designs.spread)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the validation errors; the running statistics are left alone."""
        self.decoder.eval()
        codes = self.encoder(self.designs.val)
        rec = float(functional.mse_loss(self.decoder(self.pruner.mask(codes)), self.designs.val))
        vol = float(self.volume(codes))
        nmse = rec / self.designs.variance
        return {
            "val_rec": rec,
            "val_nmse": nmse,
            "val_vol_loss": vol,
            "val_total_loss": nmse + self.w_v * vol,
        }

    def close(self, deadline: Deadline) -> tuple[float, float]:
        """Train a little more with the right norms and without pruning, so that errors are the network's.

        Returns:
            The validation error before, and with the right norms but without that training.
        """
        trained = self.validate()["val_rec"]
        self.decoder.refine(_LAST_ROUNDS)
        refined = self.validate()["val_rec"]
        for group in self.optimiser.param_groups:
            group["lr"] = _CLOSING_RATE * self.params.lr
        for _ in range(_CLOSING_EPOCHS):
            if deadline.expired:
                break
            self.told = self.train_epoch()
            self.decoder.refine(_LAST_ROUNDS)
        return trained, refined

    def state(self) -> dict[str, Any]:
        """Return everything that a later attempt needs."""
        return {
            "encoder": self.encoder.state_dict(),
            "decoder": self.decoder.state_dict(),
            "adam": adam_state(self.optimiser, self._weights),
            "pruner": self.pruner.state(),
            "random": self.stream.get_state(),
            "epoch": self.epoch,
            "curve": self.curve,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.encoder.load_state_dict(state["encoder"])
        self.decoder.load_state_dict(state["decoder"])
        restore_adam(self.optimiser, self._weights, state["adam"])
        self.pruner.restore(state["pruner"])
        self.stream.set_state(state["random"])
        self.epoch, self.curve = state["epoch"], state["curve"]


def run(work: Work) -> Metrics:
    """Train, prune, judge."""
    assert work.prepared is not None
    one_core()
    params = structure(Params, dict(work.params), "lvae")
    # Equal seeds see the same weights and batches whatever else differs: pairs can be compared.
    stream = Generator().manual_seed(derive_seed("lvae", params.seed, work.replicate))
    designs = load_designs(work.prepared, work.problem["data_seed"]).to(device_of(params.device))
    trainer = Trainer(designs, params, stream, unit_range=work.problem["unit_range"])
    saved = work.checkpoint.load()
    if saved is not None:
        trainer.restore(loads(saved))
    broken = _train(trainer, work)
    work.checkpoint.keep(lambda: dumps(trainer.state()))
    if broken is not None:
        return {"val_rec": math.nan, "outcome": "divergence", "status_reason": broken, "epoch": trainer.epoch}
    metrics = _metrics(trainer, work.problem["true_dim"], work.deadline)
    leave(work.files, pictures.arrays(trainer.encoder, trainer.decoder, trainer.pruner, designs.val))
    if params.save_model and work.files is not None:
        work.files.mkdir(parents=True, exist_ok=True)
        write_bytes(work.files / "model.pt", _model(trainer))
    return metrics


def _model(trainer: Trainer) -> bytes:
    """Return what ``torch.load`` reads: weights, which codes are active, and what the others are."""
    pruner, stream = trainer.pruner, io.BytesIO()
    weights = {"encoder": trainer.encoder.state_dict(), "decoder": trainer.decoder.state_dict()}
    codes = {"active": pruner.active, "frozen_code": pruner.frozen_code}
    torch.save({**weights, **codes, "params": asdict(trainer.params)}, stream)
    return stream.getvalue()


def _train(trainer: Trainer, work: Work) -> str | None:
    """Train to the last epoch or the deadline; return why it cannot go on, if so."""
    while trainer.epoch < trainer.params.n_epochs and not work.deadline.expired:
        told = trainer.told = trainer.train_epoch()
        errors = trainer.validate()
        if not math.isfinite(told["loss"]) or not math.isfinite(errors["val_rec"]):
            return f"the loss is {told['loss']} in epoch {trainer.epoch}"
        trainer.prune(errors["val_nmse"])
        active = trainer.pruner.n_active
        trainer.curve.append([errors["val_nmse"], float(active)])
        work.report(trainer.epoch, {**errors, **told, "active_dims": active, "epoch": trainer.epoch})
        trainer.epoch += 1
        if work.checkpoint.due():
            work.checkpoint.save(dumps(trainer.state()))
    return None


def _metrics(trainer: Trainer, true_dim: int | None, deadline: Deadline) -> Metrics:
    truncated = trainer.epoch < trainer.params.n_epochs and deadline.expired
    trained, refined = trainer.close(deadline)
    errors, pruner = trainer.validate(), trainer.pruner
    active = pruner.n_active
    trainer.curve.append([errors["val_nmse"], float(active)])  # what is reported is part of what is judged
    curve = judge.Curve(trainer.curve, trainer.params.pruning_epoch)
    outcome, reason = judge.outcome(curve, errors["val_nmse"], active, trainer.params.latent_dim)
    pca = judge.pca_nmse(trainer.designs.train, trainer.designs.val, max(active, 1))
    is_unread = outcome == "no_pruning" and trainer.designs.intrinsic is None
    if trainer.params.pruning_strategy == "neighbours" and (outcome == "good" or is_unread):
        outcome, reason = judge.claim(trainer.designs.intrinsic, active, errors["val_nmse"], pca)
    last = max((event["epoch"] for event in pruner.events if event["reason"] != GIVEN_BACK), default=-1)
    return {
        **errors,
        **{name: trainer.told.get(name) for name in _TOLD[1:]},
        "active_dims": active,
        "still_falling": last >= (1.0 - _LAST) * trainer.params.n_epochs,
        "effective_dims": judge.effective_dims(trainer.encoder, trainer.decoder, pruner, trainer.designs.val),
        "gap_dims": judge.gap_dims(trainer.encoder, pruner, trainer.designs.val),
        "intrinsic_dims": trainer.designs.intrinsic,
        "true_dim": true_dim,
        "dim_error": None if true_dim is None else abs(active - true_dim),
        "pca_nmse": pca,
        "lipschitz_norm": judge.lipschitz(trainer.decoder, pruner.mask(trainer.encoder(trainer.designs.val))),
        "epoch": trainer.epoch,
        "outcome": outcome,
        "status_reason": reason,
        "truncated": truncated,
        "pruning_events": pruner.events,
        "diagnostics": {
            **{f"held_by_{name}": count for name, count in sorted(pruner.held.items())},
            "val_rec_trained": trained,
            "val_rec_refined": refined,
            "w_v_spread": trainer.w_v,
            "parameters": sum(one.numel() for one in trainer._weights),
        },
    }
