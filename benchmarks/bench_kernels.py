"""Gradient evaluations per second of every method, on the presets small and base.

A gradient evaluation is one gradient of the loss over one full data set (examples x chains summed,
warm-up included), so that methods with and without minibatches are comparable. The last column
divides by the same gradient on one full-batch chain, measured in the same process.
"""

import tempfile
import time
from pathlib import Path

import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.target import load

BUDGET_SEC = 20.0
PROBLEMS = {
    "small": {"model": "small", "data": "small"},
    "base": {"model": "base", "data": "base", "overrides": {"training": {"steps": 300, "polish_steps": 5}}},
}
LONG = {
    "hmc": {"chains": 4, "draws": 10**6, "max_draws": 10**6, "relative_error": 1e-12},
    "sgld": {"steps": 10**7},
    "mclmc": {"steps": 10**7},
    "vi": {"steps": 10**6},
}


def main() -> None:
    """Print one line per problem and method."""
    torch.set_num_threads(1)
    print("problem  method  gradient evaluations/s  ratio to one full-batch chain")
    for name, raw in PROBLEMS.items():
        with tempfile.TemporaryDirectory() as folder:
            problem = TASK.resolve(raw, name)
            prepare_task(TASK, problem, Path(folder))
            plain = one_chain(problem, Path(folder))
            n = problem["data"]["n_data"]
            for method, changes in LONG.items():
                params = TASK.complete({}, method, changes, name)
                work = Work(problem, method, params, 1, Deadline(BUDGET_SEC), Path(folder))
                begun = time.perf_counter()
                metrics = run_task(TASK, work)
                rate = metrics["work"] / n / (time.perf_counter() - begun)
                print(f"{name:7}  {method:6}  {rate:22.1f}  {rate / plain:8.2f}")
            print(f"{name:7}  one chain {plain:18.1f}  {1.0:8.2f}")


def one_chain(problem: dict, folder: Path) -> float:
    """Return full gradients per second of one chain on the full batch."""
    estimand = Estimand(load(problem, folder))
    stream = torch.Generator().manual_seed(1)
    w = estimand.starts(1, stream)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < BUDGET_SEC / 4:
        estimand.energy(w, stream)
        count += 1
    return count / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
