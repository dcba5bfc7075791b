"""Least-volume autoencoders with dynamic pruning, on engineering designs.

Sources: Chen & Fuge 2024 (ICLR), "Compressing Latent Space via Least Volume"; the sweep programme of EngiOpt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parsl_optuna.core.errors import SpecError, TaskError, nearest
from parsl_optuna.core.load import structure
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
        if strategy != "neighbours"  # its only one is that of plummet
        for name in names
    ),
    View("Does the Lipschitz bound help or hurt?", "pairs", (_BOUND,)),
    View("Does the bound change what is pruned?", "grouped", ("active_dims", _BOUND, _STRATEGY)),
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
_SIDES = [side for side in range(8, 129) if side % (2 ** int(math.log2(side / 4))) == 0]
"""Halved again and again, these come to 4 to 7 pixels, and doubled to themselves."""


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check a problem, its file too; that is known by its digest."""
    problem = structure(params.Problem, raw, where)
    if problem.designs is not None and problem.file is not None:
        raise SpecError(f"{where}.file: is an older name of designs; keep one of the two")
    if problem.resolution not in _SIDES:
        raise SpecError(
            f"{where}.resolution: {problem.resolution} must be one of {', '.join(map(str, _SIDES))}"
        )
    if problem.n_designs < 10:
        raise SpecError(f"{where}.n_designs: {problem.n_designs} must be at least 10")
    if problem.true_dim is not None and problem.true_dim < 1:
        raise SpecError(
            f"{where}.true_dim: {problem.true_dim} must be at least 1, or null where it is unknown"
        )
    given = problem.designs or problem.file
    if given is not None:
        return _from_file(problem, given, f"{where}.{'file' if problem.designs is None else 'designs'}")
    if problem.problem_id not in _NAMES:
        raise SpecError(
            f"{where}.problem_id: no '{problem.problem_id}'; {nearest(problem.problem_id, _NAMES)}, "
            "or give its file as designs"
        )
    if problem.problem_id in _FILES_ONLY:
        raise SpecError(
            f"{where}.designs: is missing; '{problem.problem_id}' is not made here, give its file "
            f"(of a sweep: --data {problem.problem_id}=FILE)"
        )
    dim, unit_range, is_vector = _NAMES[problem.problem_id]
    for name, known in (("true_dim", dim), ("unit_range", unit_range)):
        if getattr(problem, name) not in (None, known):
            raise SpecError(f"{where}.{name}: goes with designs of a file; {problem.problem_id} has {known}")
    known = {"true_dim": dim, "unit_range": unit_range, "is_vector": is_vector, "file": None}
    return params.resolved(problem, **known)


def _from_file(problem: params.Problem, given: str, where: str) -> dict[str, Any]:
    """Return a problem whose designs are read from a file, which is read and checked now."""
    from parsl_optuna.tasks.lvae import designs, files  # noqa: PLC0415

    file = files.identify(given, where)
    path = Path.cwd() / file["path"]
    try:
        splits = files.read(path)
        is_vector = next(iter(splits.values())).ndim == 2
        _, unit_range, expected = _NAMES.get(problem.problem_id, (None, not is_vector, is_vector))
        if is_vector != expected:
            kinds = ("vectors", "images") if is_vector else ("images", "vectors")
            raise TaskError(f"{path}: holds {kinds[0]}, and designs of {problem.problem_id} are {kinds[1]}")
        if problem.unit_range is not None:
            unit_range = problem.unit_range
        known = {"true_dim": problem.true_dim, "unit_range": unit_range, "is_vector": is_vector, "file": file}
        found = params.resolved(problem, **known)
        designs.fitted(found, splits, path)
    except TaskError as error:
        raise SpecError(f"{where}: {error}") from error
    return found


TASK = Task(
    name="lvae",
    version=6,
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
        "rec_loss": "float",
        "vol_loss": "float",
        "val_total_loss": "float",
        "active_dims": "int",
        "effective_dims": "int",
        "gap_dims": "int",
        "intrinsic_dims": "int",
        "still_falling": "bool",
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
