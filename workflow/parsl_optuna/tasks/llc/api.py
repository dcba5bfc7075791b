"""From a user's module to an estimate: the part of `parsl_optuna.api.estimate` that needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Generator, Tensor, nn

from parsl_optuna.core.clock import Deadline, Expired, named_phase
from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.kernels import chain
from parsl_optuna.kernels.device import full_precision, keep_memory
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.tasks.llc.answer.observables import RECORDED
from parsl_optuna.tasks.llc.answer.summary import drawn, summarise
from parsl_optuna.tasks.llc.answer.verdict import TRIAL_GATE, Nature
from parsl_optuna.tasks.llc.engine.auto import chains_for, pictured, recorded_values
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.notes import of_gamma, of_modes, of_rounding, of_sides
from parsl_optuna.tasks.llc.problem.agreement import check_precision
from parsl_optuna.tasks.llc.problem.centre import find_centre
from parsl_optuna.tasks.llc.problem.estimand import Estimand
from parsl_optuna.tasks.llc.problem.examples import Examples, read
from parsl_optuna.tasks.llc.problem.pose import PosedLoss, pose
from parsl_optuna.tasks.llc.problem.posed import unwrapped
from parsl_optuna.tasks.llc.problem.recorded import sources
from parsl_optuna.tasks.llc.problem.selection import select, sizes
from parsl_optuna.tasks.llc.problem.slopes import WrongLoss
from parsl_optuna.tasks.llc.problem.spec import Posterior, Training, joined
from parsl_optuna.tasks.llc.problem.spread import devices_for
from parsl_optuna.tasks.llc.problem.target import Summary, Target, examine
from parsl_optuna.tasks.llc.problem.timed import TimedLoss
from parsl_optuna.tasks.llc.samplers import automatic
from parsl_optuna.tasks.llc.samplers.auto import Params, estimate
from parsl_optuna.tasks.llc.samplers.base import Automatic, Direct

Precision = Literal["float64", "float32"]

_POLISH_SHARE, _EXAMINATION_SHARE = 0.3, 0.1
"""Of what is left of the budget, at most; sampling gets the rest."""

_GRACE_SEC, _GRACE = 0.3, 0.05
"""By how much a step that is under way may exceed the budget: the larger of seconds and share."""

_FEWEST_EXAMPLES = 3
"""For which n / ln n is meant: it is infinite at 1, and falls until e."""

_FEWEST_GRADIENTS = 1000
"""Gradients on all data that an estimate takes at least: three windows of warm-up (304), curvatures (120),
settling, and 128 draws that are a few steps apart.
"""

_BEFORE = ("reading", "checks", "polish", "examination")
"""Phases before sampling."""

_DATA_SHARE, _ACTIVATIONS_SHARE = 0.5, 0.25
"""Of the memory, at most. The rest is for the chains."""

_KEPT_STATES = 120
"""Vectors per chain that warm-up holds: position, momentum and gradient of 40 states."""


@dataclass(frozen=True)
class Settings:
    """Arguments of `parsl_optuna.estimate_llc`."""

    n_beta: float | None = None
    gamma: float = 1.0
    kernel: str = "langevin"
    relative_error: float = 0.005
    polish: bool = False
    precision: Precision = "float64"
    seed: int = 0
    parameters: Any = None
    device: Any = None
    memory_gb: float | None = None
    observables: Any = None

    def __post_init__(self) -> None:
        for name in ("gamma", "relative_error", "n_beta", "memory_gb"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and 0 < value < math.inf):
                raise SpecError(f"{name} {value!r} must be a number above 0")
            if value is not None:
                object.__setattr__(self, name, float(value))  # torch takes no scalars of numpy
        if not isinstance(self.polish, bool):
            raise SpecError(f"polish {self.polish!r} must be True or False")
        if isinstance(self.seed, bool) or not isinstance(self.seed, Integral) or not 0 <= self.seed < 2**63:
            raise SpecError(f"seed {self.seed!r} must be a whole number from 0 to 2**63 - 1")
        object.__setattr__(self, "seed", int(self.seed))
        object.__setattr__(self, "device", joined(self.device))
        if self.precision not in get_args(Precision):
            raise SpecError(
                f"precision {self.precision!r}: {nearest(str(self.precision), get_args(Precision))}"
            )
        Params(self.kernel, self.relative_error)  # raises where it cannot be
        if self.observables and not self.has_chains:
            raise SpecError(
                f"observables: kernel '{self.kernel}' has no chains to record them along; take another kernel"
            )

    def check_temperature(self, n: int) -> None:
        """Refuse numbers of examples without a temperature."""
        if self.n_beta is None and n < _FEWEST_EXAMPLES:
            raise SpecError(f"n_beta: n / ln n means nothing for n = {n}; give a number")

    @property
    def has_chains(self) -> bool:
        """Whether the kernel moves chains."""
        return isinstance(automatic()[self.kernel], Automatic)

    @property
    def most_bytes(self) -> float:
        """Memory that may be used."""
        return math.inf if self.memory_gb is None else self.memory_gb * 2**30


def is_number(value: object) -> bool:
    """Whether a value is a real number, one of numpy's too."""
    return isinstance(value, Real) and not isinstance(value, bool)


class Result(NamedTuple):
    """Metrics, and the traces ``(draws, chains)``: t (L - L0), without and with controls, and |w - w*|.

    *observables* are traces ``(draws, chains, *shape)`` by name, *centre* their values at w*.
    """

    metrics: dict[str, Any]
    excess: Any
    controlled: Any
    distance: Any
    observables: dict[str, Any]
    centre: dict[str, Any]


@dataclass
class Phases:
    """Where the budget goes.

    Attributes:
        deadline: The budget.
        seconds: Of every phase that has ended, by name.
    """

    deadline: Deadline
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def limit(self) -> Deadline:
        """When what is under way is cut off: a little later than phases should end by themselves."""
        budget = self.deadline.budget_sec
        return Deadline(budget + max(_GRACE_SEC, _GRACE * budget), self.deadline.now, self.deadline.started)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a phase; an `Expired` in it gets its name."""
        begun = self.deadline.used_sec
        try:
            with named_phase(name):
                yield
        finally:
            self.seconds[name] = self.deadline.used_sec - begun

    def said(self) -> str:
        """Say how long each phase took, the shortest left out."""
        return ", ".join(f"{name} {sec:.2g} s" for name, sec in self.seconds.items() if sec >= 0.05)


def run(
    model: nn.Module, loss: Callable[..., Tensor], data: Any, settings: Settings, deadline: Deadline
) -> Result:
    """Read the data, examine the centre in float64, then sample in the wanted precision."""
    keep_memory()
    with torch.inference_mode(mode=False), _as_asked():  # whatever the caller is in
        return _run(model, loss, data, settings, deadline)


@contextmanager
def _as_asked() -> Iterator[None]:
    """Compute in the precision that is asked for."""
    with full_precision(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


def _run(
    model: nn.Module, loss: Callable[..., Tensor], data: Any, settings: Settings, deadline: Deadline
) -> Result:
    model = unwrapped(model)
    _check_callable(loss)
    devices, phases = devices_for(settings.device, model, settings.precision), Phases(deadline)
    selection = select(model, settings.parameters)
    with phases.phase("reading"):
        most = _DATA_SHARE * settings.most_bytes
        examples, observables = read(data, deadline, most), sources(settings.observables, deadline, most)
    settings.check_temperature(examples.n)

    def posed(dtype: torch.dtype, *, is_verified: bool = False) -> PosedLoss:
        on_cpu = devices[0].type == "mps" and dtype == torch.float64
        place, *others = [torch.device("cpu")] if on_cpu else devices
        found = pose(
            model,
            loss,
            examples,
            selection,
            dtype,
            device=place,
            others=others,
            most_bytes=_ACTIVATIONS_SHARE * settings.most_bytes / devices.count(devices[0]),
            deadline=phases.limit,
            observables=observables,
            is_verified=is_verified,
        )
        return found._replace(loss=TimedLoss(found.loss, phases.limit))

    with phases.phase("checks"):
        exact, precision, notes = _exact(posed, settings.precision, next(model.parameters()).dtype)
        dtype, sampled = getattr(torch, precision), exact
        if dtype != exact.weights.dtype:
            with suppress(Expired):  # then sampling will end at once, and say so
                single = partial(posed, torch.float32, is_verified=True)
                sampled = _single(single, exact, sizes(model, selection))
    estimand, notes = _estimand(exact, sampled, settings, phases, notes)
    _check_memory(estimand, examples, settings)
    metrics, trace = _sampled(estimand, settings, phases)
    notes = [*notes, *_seen_in(estimand, trace, metrics, settings)]
    metrics |= {
        "parameters": selection.dim,
        "parameters_held": selection.total - selection.dim,
        "precision": precision,
        "device": ",".join(map(str, devices)),
        "chains": sampled.chains,
        "phases_sec": phases.seconds,
        "notes": list(
            dict.fromkeys([*of_modes(model, loss), *examples.notes, *selection.notes, *sampled.notes, *notes])
        ),
    }
    if not trace.n_draws:
        metrics["status_reason"] = _without_draw(estimand, settings, phases, metrics["status_reason"])
        nothing = torch.empty(0, 0, device="cpu").numpy()
        return Result(metrics, nothing, nothing, nothing, {}, {})
    at_centre = estimand.recording.at(estimand.centre.unsqueeze(0))
    centre = {name: value[0].cpu().numpy() for name, value in at_centre.items()}
    recorded = {name: trace.values[RECORDED + name].cpu().numpy() for name in centre}
    return Result(metrics, **pictured(trace, settings.gamma), observables=recorded, centre=centre)


def _seen_in(
    estimand: Estimand, trace: chain.Trace, metrics: dict[str, Any], settings: Settings
) -> Iterator[str]:
    """Yield notes of what the draws show."""
    yield from of_gamma(metrics)
    if settings.has_chains:
        yield from of_sides(estimand, trace)
    yield from of_rounding(estimand, metrics)


def _check_callable(loss: Any) -> None:
    if isinstance(loss, type):
        raise SpecError(f"loss: is the class {loss.__name__}; give an instance, such as {loss.__name__}()")
    if not callable(loss):
        kind = type(loss).__name__
        raise SpecError(f"loss: must be a function or module, got a {kind}; such as torch.nn.MSELoss()")


def _exact(
    posed: Callable[[torch.dtype], PosedLoss], precision: Precision, own: torch.dtype
) -> tuple[PosedLoss, Precision, list[str]]:
    """Pose the loss in float64, or in float32 where the user's code allows nothing else.

    Where it allows neither, what it raises in the model's *own* precision is told: in another one its
    conversions may fail, which have nothing to do with the cause.

    Returns:
        The loss, the precision to sample in, and what to tell about it.
    """
    try:
        return posed(torch.float64), precision, []
    except WrongLoss:
        raise  # the coarser comparison in float32 may not see it
    except SpecError as error:
        try:
            single = posed(torch.float32)
        except Expired:
            raise error from None
        except SpecError as cause:
            raise error if own == torch.float64 else cause from None
        return single, "float32", [f"all in float32, since float64 fails: {error}"]


def _single(posed: Callable[[], PosedLoss], exact: PosedLoss, parts: Sequence[int]) -> PosedLoss:
    """Pose the loss in float32, which was asked for, where float64 has worked."""
    try:
        found = posed()
        check_precision((exact.loss, exact.weights), (found.loss, found.weights), parts)
        return found
    except WrongLoss:
        raise
    except SpecError as error:
        raise SpecError(f"precision float32: fails, where float64 does not: {error}") from error


def _estimand(
    exact: PosedLoss, sampled: PosedLoss, settings: Settings, phases: Phases, notes: list[str]
) -> tuple[Estimand, list[str]]:
    """Polish and examine the centre; what there is no time for is left out, and noted."""
    n, dtype = exact.loss.n_examples, sampled.weights.dtype
    precision: Precision = "float64" if dtype == torch.float64 else "float32"
    posterior = Posterior(gamma=settings.gamma, precision=precision)
    if settings.n_beta is not None:
        posterior = Posterior(
            beta_mode="fixed", beta0=settings.n_beta / n, gamma=settings.gamma, precision=precision
        )
    centre = exact.weights
    if settings.polish:
        part = phases.deadline.part(_POLISH_SHARE)
        with phases.phase("polish"):
            centre = find_centre(
                exact.loss, centre, Training(steps=0), n * posterior.beta(n), settings.gamma, part
            )
        if part.expired:
            notes = [*notes, f"polish ended with its share of the budget, {part.budget_sec:.2g} s"]
    stream, part = Generator("cpu").manual_seed(settings.seed), phases.deadline.part(_EXAMINATION_SHARE)
    try:
        with phases.phase("examination"):
            diagonal, summary = examine(exact.loss, centre, posterior, stream, part)
    except Expired:  # not even the loss at the centre is known; sampling will end at once
        diagonal = torch.zeros_like(centre)
        summary = Summary(math.nan, exact.loss.dim, n, math.nan, None, None, None, has_exact_diagonal=False)
    centre, diagonal = (value.to(sampled.weights) for value in (centre, diagonal))
    return Estimand(Target(posterior, sampled.loss, centre, diagonal, summary), sampled.recording), notes


def _check_memory(estimand: Estimand, examples: Examples, settings: Settings) -> None:
    """Refuse what will not fit the memory."""
    kernel = automatic()[settings.kernel]
    if isinstance(kernel, Direct):
        values, what, rest = kernel.kept_values(estimand), f"kernel '{settings.kernel}', vectors", ""
    else:
        chains = chains_for(estimand)
        values = _KEPT_STATES * chains * estimand.dim + recorded_values(estimand, chains)
        what, rest = f"{chains} chains", ", observables included"
    needed = values * estimand.centre.element_size() + examples.bytes()
    if needed > settings.most_bytes:
        raise SpecError(
            f"memory_gb {settings.memory_gb:g}: {what} of {estimand.dim:,} parameters and the data "
            f"take about {needed / 2**30:.2g}{rest}; raise it, or sample a part with parameters="
        )


def _sampled(estimand: Estimand, settings: Settings, phases: Phases) -> tuple[dict[str, Any], chain.Trace]:
    """Sample until the error is small enough or the budget ends, be it before the first draw."""
    stream = Generator(estimand.centre.device).manual_seed(settings.seed)
    params = Params(settings.kernel, settings.relative_error)
    stages = Stages(Checkpoint(), stream, estimand)
    begun = phases.deadline.used_sec
    try:
        phases.deadline.check()
        metrics, trace = estimate(estimand, params, stages, phases.deadline, sparing=True)
    except Expired as error:
        trace = chain.nothing()
        metrics = summarise(estimand, drawn(trace, 0, {}, Nature()), TRIAL_GATE)
        name = "warm-up and tuning" if error.phase == "tuning" else error.phase or "sampling"
        phases.seconds[name] = phases.deadline.used_sec - begun
        return metrics | {"truncated": True}, trace
    seen = metrics["diagnostics"]
    phases.seconds |= {"warm-up": seen["warmup_sec"], "drawing": seen["drawing_sec"]}
    return metrics, trace


def _without_draw(estimand: Estimand, settings: Settings, phases: Phases, reason: str) -> str:
    """Say which phase took the budget, and what budget would do."""
    said = phases.said()
    text = f"{reason} ({said})" if said else reason
    loss = estimand.target.loss
    if not isinstance(loss, TimedLoss) or not loss.gradients:  # not even one gradient: it is far too little
        return f"{text}; try {10.0 * phases.deadline.budget_sec:g} s"
    before = sum(sec for name, sec in phases.seconds.items() if name in _BEFORE)
    kernel = automatic()[settings.kernel]
    if isinstance(kernel, Direct):
        rows, gradients = kernel.work(estimand)
    else:
        rows, gradients = chains_for(estimand), _FEWEST_GRADIENTS
    wanted = before + gradients * loss.seconds_for(rows)
    return f"{text}; about {float(f'{wanted:.1g}'):g} s would do"
