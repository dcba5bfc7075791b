"""A sampler for any Optuna study: a Gaussian process for many trials in flight, indifferent to outliers."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.special import log_ndtr

from parsl_optuna.core.space import Conditions
from parsl_optuna.study.search import gp
from parsl_optuna.study.search.climb import Climber, log_improvement
from parsl_optuna.study.search.cube import Cube
from parsl_optuna.study.search.history import History
from parsl_optuna.study.search.scores import excess_scores, log_scores, normal_scores

Array = NDArray[np.float64]

_ALIKE_EVERY = 8
"""Of so many proposals one is by a model to which all numbers are alike. A model with a length for each may
take a number to have no effect because of a few lucky points; all its proposals then have the same value of
it, and it never learns otherwise. The share was chosen by `benchmarks.search`."""


class RankGPSampler(BaseSampler):
    """Propose points with a Gaussian process on objective values, the bad ones on a logarithmic scale.

    A proposal is a function of the trials that have ended, those that run, the seed and the trial's
    number; the order in which trials ended does not matter.

    The first points are those of a scrambled Sobol sequence. Failed trials count as the worst value,
    pruned ones as the rank they had at their last report. Running trials are believed to come out as
    predicted. Several objectives are combined by weights that are drawn anew for every trial (ParEGO);
    constraints (`Trial.set_constraint`) have a model each. Parameters that depend on others, and are not
    in *conditions*, are recognised from the trials.

    Args:
        seed: Of all proposals; None takes one at random.
        n_startup_trials: The model takes over after so many ended trials, or one more than there are
            parameters if that is less.
        search_space: Distributions by name, where all are known beforehand; None learns them from trials.
        conditions: ``parameter -> other parameter -> values`` at which the first one is active.
        most_trials: The model knows at most so many trials: the better half, and some of the others.
        number: Of the trial that is asked for next, if the caller numbers trials; None takes Optuna's.
        attempt: Another one proposes another point for the same number.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        n_startup_trials: int = 10,
        search_space: Mapping[str, BaseDistribution] | None = None,
        conditions: Conditions = MappingProxyType({}),
        most_trials: int = 1000,
        number: int | None = None,
        attempt: int = 0,
    ) -> None:
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._n_startup_trials, self._most_trials = n_startup_trials, most_trials
        self._search_space, self._number, self._attempt = search_space, number, attempt
        self._conditions = conditions

    def reseed_rng(self) -> None:
        """Do nothing: threads of one study share its numbering, and with it what is random."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all parameters that were declared, or that any trial has had."""
        if self._search_space is not None:
            return dict(self._search_space)
        space: dict[str, BaseDistribution] = {}
        for one in study.get_trials(deepcopy=False):
            space |= one.distributions
        return space

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter that no trial has had yet."""
        del study
        generator = self._generator(trial, *param_name.encode())
        cube = Cube({param_name: param_distribution})
        return cube.decode(cube.place(generator.random((1, 1)))[0])[param_name]

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose a point."""
        if not search_space:
            return {}
        with _one_thread():
            weights, number = self._weights(study, trial), self._number_of(trial)
            history = History.of(study, trial, search_space, self._conditions, weights, number)
            return history.cube.decode(self._propose(history, trial))

    def _propose(self, history: History, trial: FrozenTrial) -> Array:
        cube = history.cube
        generator = self._generator(trial)
        needed = min(self._n_startup_trials, len(cube.axes) + 1)
        fixed = trial.system_attrs.get("fixed_params", {})
        held = {j: cube.axes[j].encode(fixed[name]) for j, name in enumerate(cube.names) if name in fixed}
        if len(history.values) < needed or not np.isfinite(history.values).any():
            first = self._sobol(cube, trial)
            climber = Climber(cube, history.seen, lambda rows: np.zeros(len(rows)), _flat, held)
            if self._attempt == 0 and len(climber.unseen(first[None, :])):
                return first
            found = climber.best(np.empty((0, len(cube.axes))), generator)
            return first if found is None else found
        model = _Model(history, self._most_trials, self._number_of(trial) % _ALIKE_EVERY == _ALIKE_EVERY - 1)
        climber = Climber(cube, history.seen, model.value, model.slope, held)
        found = climber.best(model.leaders, generator)
        return cube.place(generator.random((1, len(cube.axes))))[0] if found is None else found

    def _sobol(self, cube: Cube, trial: FrozenTrial) -> Array:
        from scipy.stats.qmc import Sobol  # noqa: PLC0415  half a second

        generator = np.random.default_rng(self._seed)
        sequence = Sobol(
            len(cube.axes),
            scramble=True,
            seed=generator,  # pyright: ignore[reportCallIssue]  "rng" from scipy 1.15 on, which knows both
        )
        number = self._number_of(trial)
        if number:
            sequence.fast_forward(number)
        return cube.place(sequence.random(1))[0]

    def _weights(self, study: Study, trial: FrozenTrial) -> Array:
        count = len(study.directions)
        return self._generator(trial, 0).dirichlet(np.ones(count)) if count > 1 else np.ones(1)

    def _generator(self, trial: FrozenTrial, *more: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._number_of(trial), self._attempt, len(more), *more])

    def _number_of(self, trial: FrozenTrial) -> int:
        return trial.number if self._number is None else self._number


class _Model:
    """What is maximised: the log of the expected improvement, with the odds that constraints hold.

    Args:
        history: What is known.
        most_trials: At most so many of its ended trials are used.
        alike: All numbers have one length scale.
    """

    def __init__(self, history: History, most_trials: int, alike: bool) -> None:
        cube, n = history.cube, len(history.values)
        self._cube = cube
        scores = log_scores(history.values)
        chosen = np.arange(n) if n <= most_trials else gp.spread(scores, most_trials)
        known = cube.for_model(cube.known)
        points, running = known[:n][chosen], known[n:]
        scores = scores[chosen]
        is_good = np.isfinite(history.values[chosen])
        self._limits: list[tuple[gp.Posterior, float]] = []
        for row in history.constraints[:, chosen]:
            has_one = ~np.isnan(row)
            self._limits.append(_limited(points[has_one], row[has_one], running, cube.choices))
            is_good &= has_one & (row <= 0.0)
        self._objective = _posterior(points, scores, running, cube.choices, gp.SMOOTH, alike=alike)
        means = self._objective.at_points[: len(chosen)]
        self._best = float(means[is_good].min()) if is_good.any() else None
        order = np.argsort(np.where(is_good, means, math.inf), kind="stable")
        self.leaders = cube.known[:n][chosen][order]

    def value(self, rows: Array) -> Array:
        """Return the function at rows."""
        points = self._cube.for_model(rows)
        total = np.zeros(len(rows))
        if self._best is not None:
            total += log_improvement(*self._objective.predict(points), self._best)
        for posterior, limit in self._limits:
            mean, deviation = posterior.predict(points)
            total += log_ndtr((limit - mean) / deviation)
        return total

    def slope(self, row: Array, free: NDArray[np.intp]) -> tuple[float, Array]:
        """Return the function and its gradient at one row."""
        point = self._cube.for_model(row[None, :])[0]
        total, gradient = 0.0, np.zeros(len(free))
        if self._best is not None:
            mean, deviation, d_mean, d_deviation = self._objective.gradient(point, free)
            value = float(log_improvement(np.array(mean), np.array(deviation), self._best))
            z = (self._best - mean) / deviation
            # EI = s (phi(z) + z Phi(z)):  d EI = phi(z) ds - Phi(z) dm.
            density = math.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - value)
            share = math.exp(float(log_ndtr(z)) - value)
            total, gradient = value, density * d_deviation - share * d_mean
        for posterior, limit in self._limits:
            mean, deviation, d_mean, d_deviation = posterior.gradient(point, free)
            z = (limit - mean) / deviation
            log_share = float(log_ndtr(z))
            hazard = math.exp(-0.5 * z * z - 0.5 * math.log(2 * math.pi) - log_share)
            total += log_share
            gradient = gradient - hazard * (d_mean + z * d_deviation) / deviation
        return total, gradient


def _posterior(
    points: Array,
    values: Array,
    running: Array,
    choices: tuple[int, ...],
    noise: gp.Noise,
    *,
    alike: bool = False,
) -> gp.Posterior:
    hyperparameters = gp.fit(points, values, choices, noise, alike=alike)
    return gp.Posterior(points, values, running, hyperparameters, choices)


def _limited(
    points: Array, values: Array, running: Array, choices: tuple[int, ...]
) -> tuple[gp.Posterior, float]:
    """Return the model of a constraint, and its limit there.

    By ranks where it is not known by how much it is kept: the limit is behind those that keep it, or just
    before the best one while all miss it.
    """
    if (values < 0.0).any():
        scores, limit = excess_scores(values)
        return _posterior(points, scores, running, choices, gp.SMOOTH), limit
    *scores, limit = normal_scores(np.append(values, np.finfo(float).tiny))
    return _posterior(points, np.array(scores), running, choices, gp.ROUGH), float(limit)


def _flat(row: Array, free: NDArray[np.intp]) -> tuple[float, Array]:
    del row
    return 0.0, np.zeros(len(free))


@functools.cache
def _controller() -> Callable[[], contextlib.AbstractContextManager[Any]]:
    from threadpoolctl import ThreadpoolController  # noqa: PLC0415  looks through the loaded libraries

    controller = ThreadpoolController()
    return lambda: controller.limit(limits=1, user_api="blas")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Have BLAS use one thread: with several, sums depend on how many there are."""
    with _controller()():
        yield
