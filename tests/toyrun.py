"""Short ways to plan and drive the toy task."""

from __future__ import annotations

from parsl_optuna.core.load import structure
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.execution.inline import InlineExecutor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.plan.tuning import plan_run

TOY = "tests.toy:TASK"


def toy_plan(*problems, methods=("guess",), search_space=None, enqueue=None, warm_start=(), **optuna):
    """Plan a run of the toy task; problems are mappings, or numbers for their truth."""
    raw = {
        "task": TOY,
        "problems": [p if isinstance(p, dict) else {"truth": p} for p in problems or (1.0,)],
        "methods": list(methods),
        "optuna": {
            "max_trials": 6,
            "batch_size": 2,
            "n_startup_trials": 3,
            "sampler": "tpe",
            "confirm": 0,
            "seed": 7,
        }
        | optuna,
        "search_space": search_space or {},
        "enqueue": enqueue or {},
        "warm_start": list(warm_start),
    }
    return plan_run(structure(RunSpec, raw, "toy.yaml $"), "toy.yaml")


def drive(plan, folder, executor=None, observe=None):
    """Drive a plan to its end in *folder*."""
    executor = executor or InlineExecutor()
    observe = observe or getattr(executor, "pump", lambda snapshot: None)
    return Driver(plan, ArtifactStore(folder), executor, observe, refresh_sec=0.0).run()


def rows(result):
    """Return what must not depend on luck: per ended trial its number, id, state and values."""
    return [
        [(e.asked.number, e.manifest.trial_id, e.outcome.state.value, e.values) for e in numbered(trials)]
        for trials in result.studies
    ]


def numbered(trials):
    return sorted(trials.ended.values(), key=lambda e: e.asked.number or 0)
