"""The results of ``parsl-autoencoder``: a JSON file, pictures, weights, a summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parsl_optuna.core.clock import utc_now
from parsl_optuna.core.records import State
from parsl_optuna.report import plots
from parsl_optuna.store import document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.atomic import write_bytes
from parsl_optuna.study.active import ActiveStudy
from parsl_optuna.tasks.autoencoder.columns import COLUMNS
from parsl_optuna.tasks.autoencoder.params import n_parameters, widths

_TOP = 5
_RULE = "=" * 70


@dataclass(frozen=True)
class Tested:
    """One configuration.

    Attributes:
        config: Widths.
        trial_id: Its trial.
        metrics: What came back.
        files: Its weights and predictions.
    """

    config: tuple[int, ...]
    trial_id: str
    metrics: Mapping[str, Any]
    files: Path

    @property
    def score(self) -> float:
        """What configurations are ranked by."""
        return self.metrics["selection_loss"]


def tested(trials: ActiveStudy, store: ArtifactStore) -> list[Tested]:
    """Return the configurations that ended well, the smallest first."""
    found = [
        Tested(
            widths(str(entry.manifest.hyperparams["hidden_dims"])),
            entry.manifest.trial_id,
            entry.outcome.metrics,
            store.paths.files(entry.manifest.pid, entry.manifest.method, entry.manifest.trial_id),
        )
        for entry in trials.successes
    ]
    return sorted(found, key=lambda one: (len(one.config), one.config))


def failures(trials: ActiveStudy) -> list[tuple[str, str]]:
    """Return the configurations that failed, with their reasons."""
    return [
        (entry.manifest.trial_id, str(entry.outcome.reason))
        for entry in trials.ended.values()
        if entry.outcome.state not in (State.OK, State.PRUNED)
    ]


def front(found: Sequence[Tested]) -> list[Tested]:
    """Return the configurations that none with as few weights beats, by number of weights."""
    best: list[Tested] = []
    for one in sorted(found, key=lambda one: (one.metrics["model_params"], one.score)):
        if not best or one.score < best[-1].score:
            best.append(one)
    return best


def ensemble(found: Sequence[Tested], count: int) -> float | None:
    """Return the squared error on test cells of the mean reconstruction of the best *count*."""
    members = sorted(found, key=lambda one: one.score)[:count]
    sets = [np.load(one.files / "predictions.npz", allow_pickle=False) for one in members
            if (one.files / "predictions.npz").is_file()]  # fmt: skip
    if len(sets) < 2:
        return None
    mean = np.mean([arrays["reconstruction"] for arrays in sets], axis=0)
    there = sets[0]["there"]
    return float(((mean - sets[0]["target"]) ** 2)[there].mean())


def write(
    found: Sequence[Tested], folder: Path, args: Mapping[str, Any], *, made_up: bool
) -> list[tuple[str, Path]]:
    """Write everything to *folder*; return what each file is, and its path.

    Args:
        found: The configurations.
        folder: Where to.
        args: The command's options.
        made_up: Whether the data are no observations; the JSON file says so.
    """
    latent = args["latent_dim"]
    ranked = sorted(found, key=lambda one: one.score)
    best, paths = ranked[0], []
    if args["save_models"]:
        path = folder / f"best_model_latent{latent}.pth"
        write_bytes(path, (best.files / "weights.pth").read_bytes())
        paths.append(("Best model saved", path))
    path = folder / f"hyperparam_search_latent{latent}.png"
    lines = {"-".join(map(str, one.config)): one.metrics["test_losses"] for one in ranked[:_TOP]}
    write_bytes(path, plots.loss_curves(lines))
    paths.append(("Performance plot", path))
    path = folder / f"config_performance_latent{latent}.png"
    points = [(one.metrics["model_params"], one.score, len(one.config)) for one in found]
    write_bytes(
        path,
        plots.sizes(points, [(o.metrics["model_params"], o.score) for o in front(found)], list(best.config)),
    )
    paths.append(("Configuration scatter", path))
    if latent == 2 and (best.files / "predictions.npz").is_file():
        path = folder / "latent_space_2d_best_config.png"
        arrays = np.load(best.files / "predictions.npz", allow_pickle=False)
        write_bytes(path, plots.latent_plane(arrays["latent_train"], arrays["latent_test"]))
        paths.append(("Latent plane", path))
    path = folder / f"hyperparam_results_latent{latent}.json"
    document.write(path, {"data_is_made_up": made_up, **_json(found, best, args)})
    paths.append(("Results saved", path))
    return paths


def summary(found: Sequence[Tested], args: Mapping[str, Any], paths: Sequence[tuple[str, Path]]) -> list[str]:
    """Return the closing lines."""
    best = min(found, key=lambda one: one.score)
    lines = [_RULE, "HYPERPARAMETER OPTIMIZATION COMPLETED", _RULE]
    lines += [f"Best configuration: {list(best.config)}"]
    if args["split"] != "holdout":
        spread = best.metrics.get("selection_se")
        error = "" if spread is None else f" +- {spread:.4f}"
        lines.append(f"Selection loss ({args['split']}): {best.score:.4f}{error}")
    lines.append(f"Best final test loss: {best.metrics['final_test_loss']:.4f}")
    lines.append(f"Best model parameters: {best.metrics['model_params']}")
    lines.append(
        f"Test MSE: {best.metrics['test_mse']:.4f} (PCA with as many codes: {best.metrics['pca_mse']:.4f})"
    )
    small = next(one for one in front(found) if one.score <= best.score * 1.05)
    size = small.metrics["model_params"]
    lines.append(f"Smallest within 5 %: {list(small.config)}, {size} parameters, {small.score:.4f}")
    if args["ensemble"] > 1:
        error = ensemble(found, args["ensemble"])
        lines.append(
            f"Ensemble of the best {args['ensemble']}: test MSE {'-' if error is None else f'{error:.4f}'}"
        )
    return [*lines, "", *(f"{name}: {path}" for name, path in paths)]


def _json(found: Sequence[Tested], best: Tested, args: Mapping[str, Any]) -> dict[str, Any]:
    count = n_parameters(best.config, args["latent_dim"], len(COLUMNS))
    info = {
        "input_dim": len(COLUMNS),
        "latent_dim": args["latent_dim"],
        "hidden_dims": list(best.config),
        "dropout": args["dropout"],
        "total_params": best.metrics["model_params"],
        **_halves(best.config, args["latent_dim"], count),
    }
    names = ("final_test_loss", "best_test_loss", "final_train_loss")
    return {
        "timestamp": utc_now(),
        "args": json.loads(json.dumps(dict(args), default=str)),
        "total_configurations": len(found),
        "best_configuration": {
            "config": list(best.config),
            **{name: best.metrics[name] for name in names},
            "selection_loss": best.score,
            "trial_id": best.trial_id,
            "model_info": info,
        },
        "pareto_front": [list(one.config) for one in front(found)],
        "all_results": [
            {
                "config": list(one.config),
                **{name: one.metrics[name] for name in names},
                "selection_loss": one.score,
                "selection_se": one.metrics.get("selection_se"),
                "test_mse": one.metrics["test_mse"],
                "model_params": one.metrics["model_params"],
                "num_layers": len(one.config),
                "trial_id": one.trial_id,
            }
            for one in found
        ],
    }


def _halves(config: Sequence[int], latent: int, total: int) -> dict[str, int]:
    """Return the weights of encoder and decoder; the norm of the input belongs to neither."""
    inputs = len(COLUMNS)
    encoder, before = 0, inputs
    for width in config:
        encoder += before * width + 3 * width
        before = width
    encoder += before * latent + latent
    return {"encoder_params": encoder, "decoder_params": total - encoder - 2 * inputs}
