"""Error of every method against known answers on three deep linear networks, presets untouched.

``finite`` is the value at n = 1000 and gamma = 1, by quadrature or by exact Gibbs sampling, `deep_linear`
(its own standard error in brackets); ``lambda`` is Aoyagi's asymptotic coefficient, which no method can
reach at a finite n.
"""

import tempfile
import time
from pathlib import Path

from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work, prepare_task, run_task
from parsl_optuna.tasks.llc import TASK

NETWORKS = [
    # widths, rank, finite-n value, its standard error, lambda
    ([2, 2, 2], 0, 1.4051, 0.0001, 1.5),
    ([3, 3, 3], 1, 3.8619, 0.0003, 4.0),
    ([4, 6, 4], 2, 7.8744, 0.0002, 8.0),
]
BUDGET_SEC = 60.0


def main() -> None:
    """Print one line per network and method."""
    print("network    method  estimate          finite n          error  lambda  seconds  status")
    for widths, rank, finite, finite_se, coefficient in NETWORKS:
        model = {"widths": widths, "rank": rank}
        raw = {"model": "dln", "overrides": {"model": model, "data": {"n_data": 1000}}}
        problem = TASK.resolve(raw, "benchmark")
        with tempfile.TemporaryDirectory() as folder:
            prepare_task(TASK, problem, Path(folder))
            for method in TASK.methods:
                params = TASK.complete({}, method, {}, "benchmark")
                begun = time.perf_counter()
                metrics = run_task(TASK, Work(problem, method, params, 1, Deadline(BUDGET_SEC), Path(folder)))
                took = time.perf_counter() - begun
                value, se = metrics["llc_hat"], metrics["se_hat"]
                name = "-".join(map(str, widths)) + f" r{rank}"
                print(
                    f"{name:9}  {method:6}  {value:7.4f} ± {se:.4f}  {finite:7.4f} ± {finite_se:.4f}  "
                    f"{value / finite - 1:+6.1%}  {coefficient:6}  {took:7.1f}  {metrics['status']}"
                )


if __name__ == "__main__":
    main()
