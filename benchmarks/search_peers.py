"""Other searches, each as something to ask and to tell; libraries are imported when their search is made."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from parsl_optuna.core.space import Categorical, Float, Int, Space
from parsl_optuna.study.search.rank_gp import RankGPSampler

from benchmarks.problems import Problem


class Asker(Protocol):
    """A search."""

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        """Propose a point, with what it is to be told by."""
        ...

    def tell(self, token: Any, loss: float) -> None:
        """Take what came of a point."""
        ...


def searched(asker: Asker, chosen: Problem, batch: int, trials: int) -> list[Mapping[str, Any]]:
    """Search with so many trials in flight, a worker refilled when its trial ends; return the points."""
    running: list[tuple[float, int, Any, float]] = []
    points: list[Mapping[str, Any]] = []
    clock, n_ended = 0.0, 0
    while n_ended < trials:
        while len(running) < batch and len(points) < trials:
            token, point = asker.ask()
            loss, seconds = chosen.look(point, 0)
            heapq.heappush(running, (clock + seconds, len(points), token, loss))
            points.append(dict(point))
        clock, _, token, loss = heapq.heappop(running)
        asker.tell(token, loss)
        n_ended += 1
    return points


class _Optuna:
    def __init__(self, sampler: optuna.samplers.BaseSampler, space: Space) -> None:
        self._study = optuna.create_study(sampler=sampler)
        self._space = distributions(space)

    def ask(self) -> tuple[int, Mapping[str, Any]]:
        trial = self._study.ask(self._space)
        return trial.number, trial.params

    def tell(self, token: int, loss: float) -> None:
        self._study.tell(token, loss)


class _Smac:
    def __init__(self, space: Space, seed: int) -> None:
        import ConfigSpace  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
        from smac import HyperparameterOptimizationFacade, Scenario  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

        self._folder = tempfile.TemporaryDirectory()
        parts = []
        for name, one in space.dimensions.items():
            if isinstance(one, Categorical):
                parts.append(ConfigSpace.CategoricalHyperparameter(name, list(one.choices)))
            elif isinstance(one, Int):
                parts.append(ConfigSpace.UniformIntegerHyperparameter(name, one.low, one.high, log=one.log))
            else:
                parts.append(ConfigSpace.UniformFloatHyperparameter(name, one.low, one.high, log=one.log))
        configurations = ConfigSpace.ConfigurationSpace(seed=seed)
        configurations.add(parts)
        scenario = Scenario(
            configurations,
            deterministic=True,
            n_trials=10_000,
            seed=seed,
            output_directory=Path(self._folder.name),
        )
        self._facade = HyperparameterOptimizationFacade(scenario, _unused, overwrite=True, logging_level=50)
        from smac.runhistory.dataclasses import TrialValue  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

        self._value = TrialValue

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        info = self._facade.ask()
        return info, dict(info.config)

    def tell(self, token: Any, loss: float) -> None:
        self._facade.tell(token, self._value(cost=loss))


def _unused(configuration: Any, seed: int) -> float:
    """Stand for the function that SMAC wants, which is never called when it is asked and told."""
    del configuration, seed
    return 0.0


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return a space as Optuna's distributions."""
    found: dict[str, BaseDistribution] = {}
    for name, one in space.dimensions.items():
        if isinstance(one, Categorical):
            found[name] = CategoricalDistribution(one.choices)
        elif isinstance(one, Float):
            found[name] = FloatDistribution(one.low, one.high, log=one.log)
        else:
            found[name] = IntDistribution(one.low, one.high, log=one.log, step=one.step)
    return found


def _with(make: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[[Problem, int], Asker]:
    return lambda chosen, seed: _Optuna(make(seed), chosen.space)


PEERS: dict[str, Callable[[Problem, int], Asker]] = {
    "random": _with(lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "plain TPE": _with(lambda seed: optuna.samplers.TPESampler(seed=seed)),
    "rank_gp in Optuna": _with(lambda seed: RankGPSampler(seed=seed)),
    "Optuna GPSampler": _with(lambda seed: optuna.samplers.GPSampler(seed=seed)),
    "SMAC3": lambda chosen, seed: _Smac(chosen.space, seed),
}
