"""What short trials first save: epochs until the search has found a good network.

A table of the validation loss by epoch of 216 small autoencoders on 8 x 8 digits, trained once; then searches
over it: full trainings, plain Optuna with its median pruner, and the product with `fidelity`, where a longer
trial goes on from a shorter one. Cost is counted in epochs.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from parsl_optuna.core.load import structure
from parsl_optuna.core.records import Request
from parsl_optuna.core.space import Categorical, Space
from parsl_optuna.core.spec import RunSpec
from parsl_optuna.execution.simulated import SimulatedExecutor, SimulatedTrial
from parsl_optuna.store.simulated import SimulatedStore
from parsl_optuna.study.driver import Driver
from parsl_optuna.study.plan.tuning import plan_run
from parsl_optuna.tasks.base import Task
from sklearn.datasets import load_digits

RUNGS = (1, 3, 9, 27, 81)
AXES: dict[str, tuple[Any, ...]] = {
    "lr": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "width": (4, 16, 64),
    "batch": (16, 64, 256),
    "optimizer": ("adam", "sgd"),
    "activation": ("relu", "tanh"),
}
BUDGETS = (3, 6, 12, 24)
"""In full trainings."""

Points = list[tuple[tuple[Any, ...], int, int]]
"""Points of `AXES` with the epochs that they have after a trial, and those which the trial took."""


def tabulate(path: Path) -> None:
    """Train every network for the most epochs; write ``(n, epochs)`` validation losses."""
    data = torch.tensor(load_digits(return_X_y=True)[0] / 16.0, dtype=torch.float32)
    train, held = data[:1200], data[1200:]
    found = [
        _curve(dict(zip(AXES, point, strict=True)), train, held)
        for point in itertools.product(*AXES.values())
    ]
    np.save(path, np.array(found, dtype=np.float32))


def _curve(params: Mapping[str, Any], train: torch.Tensor, held: torch.Tensor) -> list[float]:
    torch.manual_seed(0)
    bend = torch.nn.ReLU if params["activation"] == "relu" else torch.nn.Tanh
    width = params["width"]
    layers = [
        torch.nn.Linear(64, width),
        bend(),
        torch.nn.Linear(width, 4),
        torch.nn.Linear(4, width),
        bend(),
    ]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(width, 64))
    kind = torch.optim.Adam if params["optimizer"] == "adam" else torch.optim.SGD
    optimizer, losses = kind(model.parameters(), lr=params["lr"]), []
    for _ in range(RUNGS[-1]):
        for rows in torch.randperm(len(train)).split(params["batch"]):
            optimizer.zero_grad()
            (64 * torch.nn.functional.mse_loss(model(train[rows]), train[rows])).backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(float(64 * torch.nn.functional.mse_loss(model(held), held)))
    return [loss if np.isfinite(loss) else 1e6 for loss in losses]


def _complete(problem: Any, method: str, params: Mapping[str, Any], where: str) -> dict[str, Any]:
    del problem, method, where
    return {**{name: values[0] for name, values in AXES.items()}, "epochs": RUNGS[-1], **params}


TASK = Task(
    name="benchmarks.fidelity:TASK",
    version=1,
    resolve=lambda raw, where: dict(raw),  # noqa: ARG005
    methods=("look",),
    complete=_complete,
    space=lambda problem, method: Space(  # noqa: ARG005
        {
            name: Categorical(values, ordered=name not in ("optimizer", "activation"))
            for name, values in AXES.items()
        }
    ),
    run=lambda work: {},  # noqa: ARG005  the table has the results
    extends={"look": "epochs"},
)


def product(table: np.ndarray, seed: int, batch: int, **keys: Any) -> Points:
    """Search with the product's driver on simulated workers."""
    settings = {"batch_size": batch, "seed": seed, "confirm": 0, "sampler": "rank_gp", **keys}
    raw = {"task": TASK.name, "problems": [{}], "methods": ["look"], "optuna": settings}
    cost: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = SimulatedStore(Path(folder))

        def simulate(request: Request) -> SimulatedTrial:
            manifest, asked = store.manifest(request.pid, request.method, request.trial_id)
            epochs = _epochs(manifest.hyperparams)
            before = 0 if asked.extends is None else RUNGS[RUNGS.index(epochs) - 1]
            cost[request.trial_id] = epochs - before
            loss = float(table[_row(_of(manifest.hyperparams)), epochs - 1])
            return SimulatedTrial(
                epochs - before, store.simulate(manifest, epochs - before, {"loss": loss}).to_json()
            )

        executor = SimulatedExecutor(batch, simulate)
        plan = plan_run(structure(RunSpec, raw, "bench"), "bench")
        (study,) = Driver(plan, store, executor, lambda _: None, executor.now).run().studies
        ended = sorted(study.ended.values(), key=lambda one: one.age)
        return [
            (
                _of(one.manifest.hyperparams),
                _epochs(one.manifest.hyperparams),
                cost[one.manifest.trial_id],
            )
            for one in ended
        ]


def pruned(table: np.ndarray, seed: int) -> Points:
    """Search with plain Optuna: TPE and the median pruner, one trial after another."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, found = (
        optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        ),
        [],
    )
    for _ in range(120):
        trial = study.ask()
        point = tuple(trial.suggest_categorical(name, values) for name, values in AXES.items())
        curve = table[_row(point)]
        epochs = 0
        for epochs, loss in enumerate(curve, start=1):
            trial.report(float(loss), epochs)
            if trial.should_prune():
                break
        is_whole = epochs == RUNGS[-1]
        state = optuna.trial.TrialState.COMPLETE if is_whole else optuna.trial.TrialState.PRUNED
        study.tell(trial, float(curve[-1]) if is_whole else None, state=state)
        found.append((point, epochs, epochs))
    return found


def _epochs(params: Mapping[str, Any]) -> int:
    return int(params["epochs"])


def _of(params: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(params[name] for name in AXES)


def _row(point: tuple[Any, ...]) -> int:
    places = [values.index(value) for values, value in zip(AXES.values(), point, strict=True)]
    return int(np.ravel_multi_index(places, [len(values) for values in AXES.values()]))


def regrets(table: np.ndarray, points: Points) -> tuple[list[float], Callable[[float], float]]:
    """Return the regret at `BUDGETS`, and the epochs until it is at most a limit.

    The choice is the least loss among the longest points so far; 0 is the best network of the table after all
    epochs, 1 the median one.
    """
    final = table[:, -1]
    low, middle = float(final.min()), float(np.median(final))
    spent, longest, best, course = 0, 0, np.inf, [(0, 1.0)]
    for point, epochs, cost in points:
        spent += cost
        loss = float(table[_row(point), epochs - 1])
        if (epochs, -loss) > (longest, -best):
            longest, best = epochs, loss
            course.append((spent, (float(final[_row(point)]) - low) / (middle - low)))
    at = [next(r for s, r in reversed(course) if s <= budget * RUNGS[-1]) for budget in BUDGETS]
    return at, lambda limit: next((s for s, r in course if r <= limit), float("inf"))


def main() -> None:
    """Print regret by budget, and epochs to a regret, by way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=Path("build/fidelity.npy"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    if not options.table.exists():
        options.table.parent.mkdir(parents=True, exist_ok=True)
        tabulate(options.table)
    table = np.load(options.table)
    fidelity = {"parameter": "epochs", "min": RUNGS[0], "max": RUNGS[-1]}
    ways: dict[str, Callable[[int], Points]] = {
        "full trainings": lambda seed: product(table, seed, options.batch, max_trials=60),
        "plain TPE with median pruning": lambda seed: pruned(table, seed),
        "short trials first": lambda seed: product(
            table, seed, options.batch, max_trials=400, fidelity=fidelity
        ),
    }
    heads = [f"regret after {budget} full trainings" for budget in BUDGETS]
    print(f"| search | {' | '.join(heads)} | median epochs to regret 0.1 | to 0.03 |")
    print("|" + "---|" * (len(heads) + 3))
    for name, way in ways.items():
        found = [regrets(table, way(seed)) for seed in range(options.seeds)]
        cells = [_interval([one[0][index] for one in found]) for index in range(len(BUDGETS))]
        to = [f"{statistics.median(one[1](limit) for one in found):.0f}" for limit in (0.1, 0.03)]
        print(f"| {name} | {' | '.join([*cells, *to])} |", flush=True)


def _interval(values: list[float]) -> str:
    """Return a mean with its 95 % interval, by bootstrap over seeds."""
    generator = random.Random(0)
    means = sorted(statistics.fmean(generator.choices(values, k=len(values))) for _ in range(2000))
    return f"{statistics.fmean(values):.3f} ({means[50]:.3f} to {means[-50]:.3f})"


if __name__ == "__main__":
    main()
