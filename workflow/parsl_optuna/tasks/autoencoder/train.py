"""Training of one architecture, on one split or over folds."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Generator, Tensor

from parsl_optuna.core.errors import TaskError
from parsl_optuna.core.ids import derive_seed
from parsl_optuna.core.load import structure
from parsl_optuna.kernels.device import device_of, one_core
from parsl_optuna.kernels.snapshot import dumps, loads
from parsl_optuna.tasks.autoencoder.network import LOSSES, Autoencoder, masked_loss, take_over
from parsl_optuna.tasks.autoencoder.params import Params, widths
from parsl_optuna.tasks.autoencoder.table import Fold, Part, folds
from parsl_optuna.tasks.base import Metrics, Work
from parsl_optuna.tasks.pictures import leave

WEIGHTS = "weights.pth"
PREDICTIONS = "predictions.npz"


@dataclass
class Fit:
    """One model and its way so far.

    Attributes:
        best: Least selection loss.
        best_state: Weights of that epoch; kept with early stopping only.
        since: Epochs since then.
        train: Training losses by epoch.
        select: Selection losses.
        test: Test losses.
    """

    model: Autoencoder
    best: float = math.inf
    best_state: dict[str, Tensor] = field(default_factory=dict)
    since: int = 0
    train: list[float] = field(default_factory=list)
    select: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)


def run(work: Work) -> Metrics:
    """Train one model per fold; the selection loss is their mean."""
    assert work.prepared is not None
    one_core()
    params = structure(Params, dict(work.params), "autoencoder")
    device = device_of(params.device)
    parts = [fold.to(device) for fold in folds(work.problem, work.prepared)]
    saved = work.checkpoint.load()
    done: list[dict[str, Any]] = loads(saved) if saved is not None else []
    with torch.random.fork_rng(devices=[]):
        for index, fold in enumerate(parts):
            if index < len(done):
                continue
            fit = _fit(work, params, fold, index, done)
            done.append(_summary(fit, params, fold))
            if index == len(parts) - 1:
                _save(work.files, fit, fold)
            if work.checkpoint.due():
                work.checkpoint.save(dumps(done))
    return _metrics(done, params, parts[-1], work)


def _fit(work: Work, params: Params, fold: Fold, index: int, done: list[dict[str, Any]]) -> Fit:
    torch.manual_seed(derive_seed("autoencoder", params.seed, work.replicate, index) % 2**63)
    train = fold.train
    fit = Fit(_model(params, train).to(train.values.device))
    if params.start_from is not None:
        take_over(fit.model, _weights_of(work, params.start_from))
    optimiser = torch.optim.AdamW(
        fit.model.parameters(), lr=params.initial_lr, weight_decay=params.weight_decay
    )
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, params.epochs, params.eta_min)
    shuffle = Generator().manual_seed(derive_seed("order", params.seed, work.replicate, index) % 2**63)
    loss_of = LOSSES[params.loss]
    for epoch in range(params.epochs):
        fit.model.train()
        total = 0.0
        for batch in torch.randperm(len(train.values), generator=shuffle).split(params.batch_size):
            x, there = train.values[batch], train.there[batch]
            loss = loss_of(fit.model(x), x, there)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        annealing.step()
        fit.train.append(total / len(train.values))
        fit.select.append(_loss(fit.model, fold.select, params))
        fit.test.append(_loss(fit.model, fold.test, params))
        if not math.isfinite(fit.train[-1]):
            raise TaskError(f"the training loss is {fit.train[-1]} in epoch {epoch}")
        earlier = [entry["select"] for entry in done]
        step = index * params.epochs + epoch
        told = fmean([*earlier, fit.select[-1]])
        work.report(
            step, {"selection_loss": told, "final_test_loss": fit.test[-1], "fold": index, "epoch": epoch}
        )
        if _is_enough(fit, params) or work.deadline.expired:
            break
    if fit.best_state:
        fit.model.load_state_dict(fit.best_state)
    return fit


def _is_enough(fit: Fit, params: Params) -> bool:
    """Note the best epoch so far; with patience, say whether to stop."""
    if params.patience is None:
        return False
    if fit.select[-1] < fit.best:
        fit.best, fit.since = fit.select[-1], 0
        fit.best_state = {name: value.clone() for name, value in fit.model.state_dict().items()}
    else:
        fit.since += 1
    return fit.since >= params.patience


def _model(params: Params, train: Part) -> Autoencoder:
    inputs = train.values.shape[1]
    centre = None
    if params.input_norm == "none":
        centre = torch.zeros(inputs), torch.ones(inputs)
    elif params.input_norm == "standardize":
        centre = train.values.mean(dim=0), train.values.std(dim=0).clamp_min(1e-3)
    return Autoencoder(inputs, widths(params.hidden_dims), params.latent_dim, params.dropout, centre)


@torch.no_grad()
def _loss(model: Autoencoder, part: Part, params: Params) -> float:
    model.eval()
    return float(LOSSES[params.loss](model(part.values), part.values, part.there))


def _summary(fit: Fit, params: Params, fold: Fold) -> dict[str, Any]:
    stopped = params.patience is not None
    with torch.no_grad():
        fit.model.eval()
        mse = float(masked_loss(fit.model(fold.test.values), fold.test.values, fold.test.there))
    return {
        "select": _loss(fit.model, fold.select, params) if stopped else fit.select[-1],
        "test": _loss(fit.model, fold.test, params) if stopped else fit.test[-1],
        "best_test": min(fit.test),
        "train": fit.train[-1],
        "mse": mse,
        "epochs": len(fit.train),
        "train_losses": fit.train,
        "test_losses": fit.test,
        "n": sum(one.numel() for one in fit.model.parameters()),
    }


def _metrics(done: list[dict[str, Any]], params: Params, fold: Fold, work: Work) -> Metrics:
    select = [entry["select"] for entry in done]
    epochs = [entry["epochs"] for entry in done]
    return {
        "selection_loss": fmean(select),
        "selection_se": stdev(select) / math.sqrt(len(select)) if len(select) > 1 else None,
        "final_test_loss": fmean(entry["test"] for entry in done),
        "best_test_loss": fmean(entry["best_test"] for entry in done),
        "final_train_loss": fmean(entry["train"] for entry in done),
        "test_mse": fmean(entry["mse"] for entry in done),
        "pca_mse": _pca_mse(fold, params.latent_dim),
        "model_params": done[0]["n"],
        "num_layers": len(widths(params.hidden_dims)),
        "epochs_run": max(epochs),
        "truncated": work.deadline.expired and params.patience is None and min(epochs) < params.epochs,
        "train_losses": done[-1]["train_losses"],
        "test_losses": done[-1]["test_losses"],
    }


def _pca_mse(fold: Fold, dims: int) -> float:
    """Return the error of PCA with as many components over the test cells that are there."""
    mean = fold.train.values.mean(dim=0)
    basis = torch.linalg.svd(fold.train.values - mean, full_matrices=False)[2][:dims]
    found = (fold.test.values - mean) @ basis.T @ basis + mean
    return float(masked_loss(found, fold.test.values, fold.test.there))


def _save(folder: Path | None, fit: Fit, fold: Fold) -> None:
    """Keep weights, and what the model makes of the test rows, beside the trial."""
    if folder is None:
        return
    import numpy as np  # noqa: PLC0415

    from parsl_optuna.store.atomic import write_bytes  # noqa: PLC0415

    stream, model = io.BytesIO(), fit.model
    torch.save({name: value.cpu() for name, value in model.state_dict().items()}, stream)
    write_bytes(folder / WEIGHTS, stream.getvalue())
    model.eval()
    with torch.no_grad():
        arrays = {
            "target": fold.test.values,
            "there": fold.test.there,
            "reconstruction": model(fold.test.values),
            "latent_test": model.encode(fold.test.values),
            "latent_train": model.encode(fold.train.values),
        }
    stream = io.BytesIO()
    np.savez(stream, **{name: value.cpu().numpy() for name, value in arrays.items()})
    write_bytes(folder / PREDICTIONS, stream.getvalue())
    codes = arrays["latent_test"]
    _, _, axes = torch.linalg.svd(codes - codes.mean(0), full_matrices=False)
    plane = codes if codes.shape[1] <= 2 else (codes - codes.mean(0)) @ axes[:2].T
    shown = {
        "codes_of_test_rows": plane,
        "losses_by_epoch:_training,_selection,_test": torch.tensor([fit.train, fit.select, fit.test]).T,
    }
    leave(folder, {name: value.float().cpu().numpy() for name, value in shown.items()})


def _weights_of(work: Work, trial_id: str) -> dict[str, Tensor]:
    """Return the saved weights of another trial of the same problem."""
    path = None if work.files is None else work.files.parent.parent / trial_id / work.files.name / WEIGHTS
    if path is None or not path.is_file():
        raise TaskError(f"start_from: trial '{trial_id}' has no saved weights on this problem; run it first")
    return torch.load(path, weights_only=True)
