"""Least-volume autoencoders with dynamic pruning, on engineering designs.

Sources: Chen & Fuge 2024 (ICLR), "Compressing Latent Space via Least Volume"; the sweep programme of EngiOpt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import structure
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Task, View
from parsl_optuna.tasks.lvae import params

_NAMES = {
    # name -> its intrinsic dimension where it is known, whether values lie in [0, 1], whether it is a vector
    "linear": (4, False, False),
    "disk2": (2, True, False),
    "disk3": (3, True, False),
    "disk5": (5, True, False),
    "bars": (4, True, False),
    "frame": (3, True, False),
    "curve": (1, False, True),
    "space_curve": (1, False, True),
    "sheet": (2, False, True),
    "beams2d": (None, True, False),
    "heatconduction2d": (None, True, False),
    "photonics2d": (None, True, False),
}
_STRATEGY, _BOUND = "pruning_strategy", "use_spectral_norm"

VIEWS = (
    View("Which strategy is better, and which more robust?", "grouped", ("val_rec", _STRATEGY, _BOUND)),
    View("By how much do two strategies differ?", "pairs", (_STRATEGY,)),
    *(
        View(f"Sensitivity of {strategy}: {name}", "grouped", ("val_rec", name, _BOUND))
        for strategy, names in params.OWN.items()
        for name in names
    ),
    View("Does the Lipschitz bound help or hurt?", "pairs", (_BOUND,)),
    View("Does the bound change what is pruned?", "grouped", ("active_dims", _STRATEGY, _BOUND)),
    View("Does it matter when pruning begins?", "grouped", ("val_rec", "pruning_epoch", _STRATEGY)),
    View("How does the weight of the volume affect pruning?", "grouped", ("active_dims", "w_v", _STRATEGY)),
    View(
        "Are fewer dimensions paid for with a larger error?", "grouped", ("val_rec", "active_dims", _STRATEGY)
    ),
    View("When are dimensions pruned?", "reported", ("active_dims", _STRATEGY)),
    View("How fast and how steadily does the error fall?", "reported", ("val_rec", _BOUND)),
    View("How does the volume fall?", "reported", ("val_vol_loss", _STRATEGY)),
    View("How do runs fail?", "verdicts", (_STRATEGY,)),
    View("Do safeguards prevent failures?", "verdicts", ("min_active_dims",)),
    View("Does what is best on one problem hold on another?", "transfer"),
)
"""The questions of the sweep guide and of the programme of six phases."""

_FILES_ONLY = ("photonics2d",)


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check a problem; a file is known by its checksum."""
    problem = structure(params.Problem, raw, where)
    if problem.problem_id not in _NAMES:
        raise SpecError(
            f"{where}.problem_id: no '{problem.problem_id}'; {nearest(problem.problem_id, _NAMES)}"
        )
    dim, unit_range, is_vector = _NAMES[problem.problem_id]
    if problem.file is None and problem.problem_id in _FILES_ONLY:
        raise SpecError(
            f"{where}.file: is missing; '{problem.problem_id}' is not made here, give its parquet "
            f"(of a sweep: --data {problem.problem_id}=FILE)"
        )
    if problem.resolution < 8 or problem.resolution & (problem.resolution - 1):
        raise SpecError(f"{where}.resolution: {problem.resolution} must be 8, 16, 32, 64 or 128")
    if problem.n_designs < 10:
        raise SpecError(f"{where}.n_designs: {problem.n_designs} must be at least 10")
    file = None
    if problem.file is not None:
        path, digest = source.hashed(problem.file, f"{where}.file")
        file = {"path": source.relative(path), "checksum": digest}
    known = {"true_dim": None if file else dim, "unit_range": unit_range, "is_vector": is_vector}
    return params.resolved(problem, **known) | {"file": file}


TASK = Task(
    name="lvae",
    version=2,
    resolve=resolve,
    methods=("lvae",),
    complete=params.complete,
    space=params.space,
    run="parsl_optuna.tasks.lvae.train:run",
    prepare="parsl_optuna.tasks.lvae.designs:make",
    metric="val_rec",
    extends={"lvae": "n_epochs"},
    objectives=("val_rec", "active_dims"),
    problem_params=params.PROBLEM_NAMES,
    data_params=("problem_id", "file"),
    foreign_params={"w_v_units": "original", "resolution": 128, "width": 64},
    ignored_params=(
        "algo",
        "track",
        "save_model",
        "sample_interval",
        "wandb_project",
        "wandb_entity",
        "resize_dimensions",
    ),
    irrelevant=params.irrelevant,
    columns={
        "val_rec": "float",
        "val_nmse": "float",
        "val_vol_loss": "float",
        "val_total_loss": "float",
        "active_dims": "int",
        "effective_dims": "int",
        "true_dim": "int",
        "dim_error": "int",
        "pca_nmse": "float",
        "lipschitz_norm": "float",
        "epoch": "int",
        "outcome": "str",
        "status_reason": "str",
        "truncated": "bool",
    },
    verdict="outcome",
    views=VIEWS,
)
