"""Estimating the local learning coefficient with SGLD, VI and MCLMC, against an HMC reference."""

from __future__ import annotations

from parsl_optuna.core.records import Comparison
from parsl_optuna.tasks.base import Reference, Task, View
from parsl_optuna.tasks.llc import samplers
from parsl_optuna.tasks.llc.problem import spec

METHODS = samplers.methods()

TASK = Task(
    name="llc",
    version=3,  # `ok` is tried by chains that begin elsewhere
    resolve=spec.resolve,
    methods=tuple(METHODS),
    complete=samplers.complete,
    space=samplers.space,
    run="parsl_optuna.tasks.llc.run:run",
    prepare="parsl_optuna.tasks.llc.problem.target:prepare",
    reference=Reference("hmc", Comparison("llc_hat", "se_hat", "llc_ref", "se_ref", "violation", "bias")),
    objective="score",
    untuned="auto",
    metric="llc_hat",
    extends={name: method.extends for name, method in METHODS.items() if method.extends},
    columns={
        "llc_hat": "float",
        "se_hat": "float",
        "bias": "float",
        "status": "str",
        "status_reason": "str",
        "violation": "float",
        "truncated": "bool",
        "work": "float",
        "L0": "float",
        "beta": "float",
        "gamma": "float",
    },
    verdict="status",
    views=(
        View("How far is each method from the reference?", "bias"),
        View("How did the estimates come along?", "reported", ("llc_hat", "method")),
        View("Which estimates can be trusted?", "verdicts", ("method",)),
    ),
)
