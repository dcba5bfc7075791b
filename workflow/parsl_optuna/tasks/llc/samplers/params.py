"""The hyperparameters of every method: types, defaults (the sampler presets), search spaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.load import read_yaml, structure, unstructure
from parsl_optuna.core.space import Categorical, Dimension, Float, Int, Scalar, Space
from parsl_optuna.tasks.llc.problem.spec import PRESETS

P = TypeVar("P")

Kernel = Literal["langevin", "hmc", "sgld"]
"""What draws for `Auto`."""

_FEWEST_CHAINS = 4


@dataclass(frozen=True)
class Hmc:
    """Hamiltonian Monte Carlo.

    *leapfrog_steps* is the mean per draw, *warmup* and *draws* count per chain. A reference that
    fails its gate is extended up to *max_draws* per chain while its budget lasts.
    """

    chains: int
    draws: int
    warmup: int
    leapfrog_steps: int
    target_accept: float
    max_draws: int

    def __post_init__(self) -> None:
        _positive(self, "chains", "draws", "leapfrog_steps")
        _fraction(self, "target_accept")


@dataclass(frozen=True)
class Sgld:
    """SGLD with step eta0 (1 + t/t0)^-gamma; the loss is evaluated each *eval_every* steps."""

    chains: int
    eta0: float
    gamma: float
    t0: float
    batch: int
    precond_type: Literal["none", "rmsprop", "adam"]
    steps: int
    burn_in: float
    eval_every: int
    noise: Literal["leimkuhler_matthews", "euler"]

    def __post_init__(self) -> None:
        _positive(self, "chains", "eta0", "t0", "batch", "steps", "eval_every")
        if not 0 <= self.burn_in < 1:
            raise SpecError(f"burn_in {self.burn_in} must be in [0, 1)")
        if self.gamma < 0:
            raise SpecError(f"gamma {self.gamma} must be at least 0")


@dataclass(frozen=True)
class Vi:
    """A mixture of M factor analysers of rank r, fitted *chains* times independently."""

    chains: int
    lr: float
    M: int
    r: int
    own_diagonal: bool
    whitening_mode: Literal["none", "rmsprop", "adam"]
    steps: int
    batch_size: int
    eval_samples: int

    def __post_init__(self) -> None:
        _positive(self, "chains", "lr", "M", "r", "steps", "batch_size", "eval_samples")


@dataclass(frozen=True)
class Mclmc:
    """Microcanonical Langevin Monte Carlo.

    *step_size* (first guess of the adaptation) and *L* are in units of sqrt(dim) posterior standard
    deviations; *L* null is adapted. *target_accept* asks for the adjusted variant; null is
    unadjusted, with the step adapted to *energy_variance*. *steps* counts integrator steps.
    """

    chains: int
    step_size: float
    L: float | None
    target_accept: float | None
    energy_variance: float
    steps: int
    warmup: int

    def __post_init__(self) -> None:
        _positive(self, "chains", "step_size", "energy_variance", "steps")
        if self.L is not None:
            _positive(self, "L")
        if self.target_accept is not None:
            _fraction(self, "target_accept")


@dataclass(frozen=True)
class Auto:
    """A sampler that finds its own settings, and stops at a standard error of *relative_error* times the LLC.

    *kernel* draws; *chains* null is 8 to 256, more in fewer dimensions.
    """

    kernel: Kernel
    relative_error: float
    chains: int | None = None

    def __post_init__(self) -> None:
        _positive(self, "relative_error")
        if self.chains is not None and self.chains < _FEWEST_CHAINS:
            raise SpecError(f"chains {self.chains} must be at least {_FEWEST_CHAINS}: R-hat compares them")


PARAMS: Mapping[str, type[Any]] = {"hmc": Hmc, "sgld": Sgld, "vi": Vi, "mclmc": Mclmc, "auto": Auto}


def complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    """Fill *params* with the method's preset and check every name and type; the same for all problems.

    Raises:
        SpecError: Unknown method or parameter, wrong type, or a value out of range.
    """
    del problem
    if method not in PARAMS:
        raise SpecError(f"{where}: no method '{method}'; {nearest(method, PARAMS)}")
    preset = read_yaml(PRESETS / "sampler" / f"{method}.yaml")
    return unstructure(structure(PARAMS[method], preset | dict(params), where))


def bind(method: type[P], params: Mapping[str, Scalar]) -> P:
    """Turn complete params into the method's record."""
    return structure(method, dict(params), method.__name__.lower())


def space(problem: Mapping[str, Any], method: str) -> Space:
    """Return the default search space of a method; minibatches never exceed the data."""
    n = int(problem["data"]["n_data"]) if problem else 10**9  # without a problem, the widest
    spaces: dict[str, dict[str, Dimension]] = {
        "sgld": {
            "eta0": Float(1e-6, 1e-1, log=True),
            "gamma": Float(0.0, 1.0),
            "batch": Categorical(_batches((32, 64, 128, 256), n)),
            "precond_type": Categorical(("none", "rmsprop", "adam")),
            "steps": Int(5000, 20000, step=1000),
        },
        "vi": {
            "lr": Float(1e-4, 5e-2, log=True),
            "M": Categorical((4, 8, 16)),
            "r": Categorical((1, 2, 4)),
            "whitening_mode": Categorical(("none", "rmsprop", "adam")),
            "steps": Int(2000, 10000, step=500),
            "batch_size": Categorical(_batches((32, 64, 128, 256), n)),
        },
        "mclmc": {
            "step_size": Float(1e-2, 0.5, log=True),
            "target_accept": Float(0.6, 0.95),
            "L": Float(0.5, 3.0),
            "steps": Int(5000, 20000, step=1000),
        },
        "hmc": {
            "target_accept": Float(0.6, 0.95),
            "leapfrog_steps": Int(4, 64, log=True),
            "draws": Int(1000, 10000, step=1000),
        },
        "auto": {"kernel": Categorical(get_args(Kernel))},
    }
    if method not in spaces:
        raise SpecError(f"no method '{method}'; {nearest(method, spaces)}")
    return Space(spaces[method])


def _batches(sizes: tuple[int, ...], n: int) -> tuple[int, ...]:
    return tuple(size for size in sizes if size <= n) or (n,)


def _positive(record: object, *names: str) -> None:
    for name in names:
        if not getattr(record, name) > 0:
            raise SpecError(f"{name} {getattr(record, name)} must be above 0")


def _fraction(record: object, name: str) -> None:
    if not 0 < getattr(record, name) < 1:
        raise SpecError(f"{name} {getattr(record, name)} must be between 0 and 1")
