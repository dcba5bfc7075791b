"""A variational mixture of conjugated harmoniums on images of digits: clusters, and binary causes in each.

Its measures: NMI of clusters and labels, R2 of the conjugation, active clusters, a true ELBO.
"""

from __future__ import annotations

from parsl_optuna.tasks.base import Task, View
from parsl_optuna.tasks.varmix import params

TASK = Task(
    name="varmix",
    version=2,
    resolve=params.resolve,
    methods=("varmix",),
    complete=params.complete,
    space=params.space,
    run="parsl_optuna.tasks.varmix.train:run",
    prepare="parsl_optuna.tasks.varmix.images:make",
    metric="nmi_loss",
    extends={"varmix": "n_steps"},
    objectives=("nmi_loss", "r2_loss"),
    problem_params=("data", "data_dir", "n_images", "test_share", "data_seed"),
    irrelevant=params.irrelevant,
    columns={
        "nmi": "float",
        "r2": "float",
        "nmi_loss": "float",
        "r2_loss": "float",
        "r2_best": "float",
        "active": "int",
        "perplexity": "float",
        "purity": "float",
        "ari": "float",
        "elbo": "float",
        "rho_norm": "float",
        "psi_variance": "float",
        "kmeans_nmi": "float",
        "mixture_nmi": "float",
        "steps_run": "int",
        "truncated": "bool",
    },
    views=(
        View(
            "Clusters or conjugation: must one be given up for the other?", "grouped", ("nmi", "r2", "mode")
        ),
        View(
            "Does the weight of the conjugation matter?",
            "grouped",
            ("r2", "conj_weight", "conj_warmup_steps"),
        ),
        View("Do ramps help?", "grouped", ("nmi", "kl_warmup_steps", "conj_warmup_steps")),
        View("How did training go?", "reported", ("r2", "mode")),
    ),
)
