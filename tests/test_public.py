"""What users may lean on: the names, and how they are called."""

import inspect

import parsl_optuna
from parsl_optuna import Study


def test_the_public_names():
    assert parsl_optuna.__all__ == [
        "Estimate",
        "GammaSweep",
        "Study",
        "Task",
        "Trajectory",
        "__version__",
        "estimate_llc",
        "estimate_over",
        "gamma_sweep",
    ]
    assert all(getattr(parsl_optuna, name) is not None for name in parsl_optuna.__all__)


def test_the_methods_of_a_study():
    names = [name for name in vars(Study) if not name.startswith("_")]

    assert names == [
        "from_yaml",
        "from_spec",
        "run",
        "ask",
        "tell",
        "trials",
        "best",
        "front",
        "to_optuna",
        "plot_optimization_history",
        "plot_param_importances",
        "plot_slice",
        "plot_contour",
        "plot_parallel_coordinate",
        "plot_intermediate_values",
        "plot_pareto_front",
    ]
    assert all(inspect.getdoc(getattr(Study, name)) for name in names)


def test_the_arguments_of_a_study():
    assert list(inspect.signature(Study).parameters) == [
        "objective",
        "space",
        "task",
        "problems",
        "artifacts_dir",
        "results_dir",
        "cluster",
        "limits",
        "others",
        "optuna",
    ]
