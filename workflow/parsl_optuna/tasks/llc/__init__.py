"""Estimating the local learning coefficient with SGLD, VI and MCLMC, against an HMC reference."""

from __future__ import annotations

from parsl_optuna.core.records import Comparison
from parsl_optuna.tasks.base import Reference, Task
from parsl_optuna.tasks.llc.problem import spec
from parsl_optuna.tasks.llc.samplers import params

TASK = Task(
    name="llc",
    version=1,
    resolve=spec.resolve,
    methods=("sgld", "vi", "mclmc", "hmc", "auto"),
    complete=params.complete,
    space=params.space,
    run="parsl_optuna.tasks.llc.samplers.methods:run",
    prepare="parsl_optuna.tasks.llc.problem.target:prepare",
    reference=Reference("hmc", Comparison("llc_hat", "se_hat", "llc_ref", "se_ref")),
    metric="llc_hat",
    extends={"hmc": "draws", "mclmc": "steps", "vi": "steps"},
    columns={
        "llc_hat": "float",
        "se_hat": "float",
        "status": "str",
        "status_reason": "str",
        "truncated": "bool",
        "work": "float",
        "L0": "float",
        "beta": "float",
        "gamma": "float",
    },
)
