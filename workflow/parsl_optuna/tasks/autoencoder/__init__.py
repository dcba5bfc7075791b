"""Search over the hidden layers of an autoencoder of class observations."""

from __future__ import annotations

from parsl_optuna.tasks.autoencoder import params
from parsl_optuna.tasks.base import Task, View

TASK = Task(
    name="autoencoder",
    version=1,
    resolve=params.resolve,
    methods=("autoencoder",),
    complete=params.complete,
    space=params.space,
    run="parsl_optuna.tasks.autoencoder.train:run",
    prepare="parsl_optuna.tasks.autoencoder.table:make",
    metric="selection_loss",
    objectives=("selection_loss",),
    problem_params=("data_path", "n_rows", "missing", "data_seed", "split", "folds", "split_seed"),
    columns={
        "selection_loss": "float",
        "selection_se": "float",
        "final_test_loss": "float",
        "best_test_loss": "float",
        "final_train_loss": "float",
        "test_mse": "float",
        "pca_mse": "float",
        "model_params": "int",
        "num_layers": "int",
        "epochs_run": "int",
        "truncated": "bool",
    },
    views=(
        View("What does size buy?", "grouped", ("selection_loss", "model_params", "num_layers")),
        View(
            "Does the selection loss foretell the test error?",
            "grouped",
            ("test_mse", "selection_loss", "problem"),
        ),
        View("How did training go?", "reported", ("selection_loss", "hidden_dims")),
    ),
)
