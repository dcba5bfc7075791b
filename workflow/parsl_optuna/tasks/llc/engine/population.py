"""An LLC by sequential Monte Carlo: populations from the prior, and from the normal approximation at w*.

Every round has independent populations of both kinds (`kernels.smc`); rounds are added until the error is
as wanted. `answer.parts` makes one expectation of them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.kernels import chain, hmc, laplace, metric, normal, smc
from parsl_optuna.kernels.diagnostics import mcse, rhat
from parsl_optuna.kernels.normal import Normal
from parsl_optuna.tasks.llc.answer.control_variates import LossCoordinates, adjusted, loss_coordinates
from parsl_optuna.tasks.llc.answer.observables import Observer
from parsl_optuna.tasks.llc.answer.parts import Populations, Weights, weighed
from parsl_optuna.tasks.llc.answer.summary import Draws, Traces, summarise
from parsl_optuna.tasks.llc.answer.verdict import TRIAL_GATE, Fault, Nature
from parsl_optuna.tasks.llc.engine.auto import rounded
from parsl_optuna.tasks.llc.engine.stages import Stages
from parsl_optuna.tasks.llc.engine.weighted import is_quick
from parsl_optuna.tasks.llc.problem.curvature import EXACT_LIMIT
from parsl_optuna.tasks.llc.problem.estimand import Estimand

GROUPS = 12
"""Populations of a side and round: enough for a standard error of their mean."""

_FEWEST, _MOST, _ELEMENTS = 16, 64, 2**19
"""Particles of a population, and numbers in all of them at which more cost proportionally more."""

_PER_EXAMPLE = 4
"""Of these numbers for an example."""

_KEPT, _FORGOTTEN, _MOVES = 0.7, 0.2, 6
"""Of a temperature. In 50 dimensions the evidence of populations varied by a factor of e^0.8, with 0.5 for
the first of these by e^1.2 (measured).
"""

_SETTLINGS = ((0.1, 40, True), (0.1, 12, False))
"""At the last temperature, correlation with where particles were and moves at most: of coordinates before the
first draw; then of energies alone, which gives the moves between draws.
"""

_RECORDED = 32
"""Draws of a particle: R-hat of halves of 16 is 1.03 where a move in two is lost to correlation."""

_MOST_DRAWS = 2**20
"""Of all particles together, that are kept: 48 MiB with what is seen of them."""

_HESSIAN_SHARE = 0.3
"""Of what is left of the budget, at most, for the Hessian."""

_MOST_RESAMPLED = 2**14
"""Draws by weight that stand for the populations in diagnostics."""

_FEWEST_DRAWS = 8
"""Of a particle, for a number that is told although the budget has ended."""

_VIRIAL = 0.03
"""Standard error of the virial ratio at which it is a check; the verdict asks for 1/30."""

_FLAT = 0.1
"""Curvature over gamma, below which the normal approximation at w* is the prior."""


class _At(NamedTuple):
    """Where the run is.

    Attributes:
        particles: Of the side under way.
        side: Which of the references these began at: 0 the prior, 1 the normal approximation at w*.
        settled: Settlings at the last temperature so far.
        every: Moves per draw.
        now: Draws of the side under way, ``(draws, particles)``.
        trace: Those of all sides that have ended, beside one another.
        log_evidence: Of all groups of these.
        is_near: Whether these began at w*.
        loss_coordinates: Of the first draw, as one tensor ``(2, dim)``; without a row before.
        ended: Whether there are enough draws, or no time.
    """

    particles: smc.State
    side: int
    settled: int
    every: int
    now: chain.Trace
    trace: chain.Trace
    log_evidence: Tensor
    is_near: Tensor
    loss_coordinates: Tensor
    ended: bool


def estimate(
    estimand: Estimand, relative_error: float, stages: Stages, deadline: Deadline
) -> tuple[dict[str, Any], chain.Trace]:
    """Return the metrics of `summarise`, and the draws they come from.

    Args:
        estimand: What to estimate.
        relative_error: Wanted standard error over LLC.
        stages: Source of randomness, where progress is kept, and to whom it is reported.
        deadline: The budget; the estimate so far is returned when it ends.
    """
    begun = deadline.used_sec
    nothing = normal.prior(estimand.centre, estimand.gamma), False

    def examined(_: tuple[Normal, bool]) -> tuple[Normal, bool]:
        return _near(estimand, stages.stream, deadline), True

    near, _ = stages.run(examined, nothing, lambda at: at[1])
    run = _Run(estimand, relative_error, near, stages.stream, deadline)
    at = stages.run(run.advance, run.begin(), lambda at: at.ended, lambda at: _reported(at))
    return run.summarised(at, {"warmup_sec": run.begun - begun, "drawing_sec": deadline.used_sec - run.begun})


def _reported(at: _At) -> tuple[int, Tensor]:
    seen = at.trace if at.trace.n_draws else at.now
    return at.particles.moves, seen.values.get("excess", seen.acceptance[:0])


class _Run:
    """What does not change along a run: what is estimated, and where populations begin."""

    def __init__(
        self, estimand: Estimand, relative_error: float, near: Normal, stream: Generator, deadline: Deadline
    ) -> None:
        self.estimand, self.wanted, self.near = estimand, relative_error, near
        self.stream, self.deadline, self.size = stream, deadline, particles_of(estimand)
        self.sides = [normal.prior(estimand.centre, estimand.gamma)]
        if float(near.stiffness.max()) > _FLAT * estimand.gamma:
            self.sides.append(near)
        self.groups = 2 * GROUPS // len(self.sides)
        self.begun = self.round_begun = deadline.used_sec

    def begin(self) -> _At:
        """Return the start of the first round."""
        nothing, empty = chain.nothing(), torch.zeros(0, device="cpu")
        unknown = self.estimand.centre.new_zeros(0, self.estimand.dim)
        return _At(self.drawn(0), 0, 0, 0, nothing, nothing, empty, empty > 0, unknown, ended=False)

    def drawn(self, side: int) -> smc.State:
        """Draw particles of a reference."""
        w = self.sides[side].draws(self.groups * self.size, self.stream)
        start = metric.isotropic(self.estimand.centre, self.estimand.gamma**-0.5)
        return smc.init(w, self.stream, bridge=self.bridge(side), params=smc.Params(self.groups), start=start)

    def bridge(self, side: int) -> smc.Bridge:
        """Return the way from a reference to the posterior."""
        return smc.Bridge(self.sides[side].energy, self.estimand.energy)

    def advance(self, at: _At) -> _At:
        """Do the next temperature, settling or draw; end where there is no time for it."""
        if self.deadline.expired:
            return at._replace(ended=True)
        try:
            return self._next(at)
        except Expired:
            return at._replace(ended=True)

    def _next(self, at: _At) -> _At:
        bridge, deadline = self.bridge(at.side), self.deadline
        if at.particles.temperature < 1.0:
            params = smc.Params(self.groups, _KEPT, _FORGOTTEN, _MOVES)
            moved = smc.step(at.particles, self.stream, bridge=bridge, params=params, deadline=deadline)
            return at._replace(particles=moved)
        if at.settled < len(_SETTLINGS):
            params = smc.Params(self.groups, _KEPT, *_SETTLINGS[at.settled])
            moved = smc.forget(at.particles, self.stream, bridge=bridge, params=params, deadline=deadline)
            every = max(1, moved.moves - at.particles.moves)
            return at._replace(particles=moved, settled=at.settled + 1, every=every)
        at = self._recorded(at)
        return at if at.now.n_draws < _RECORDED else self._next_side(self._added(at))

    def _recorded(self, at: _At) -> _At:
        """Add a draw of every particle."""
        particles, mine, estimand = at.particles, at.particles.metric, self.estimand
        found = at.loss_coordinates
        if not len(found):
            found = torch.stack([*loss_coordinates(particles.position, estimand.gamma, estimand.centre)])
        coordinates = LossCoordinates(found[0], found[1])
        observer = Observer(estimand, mine, coordinates)

        def observe(before: hmc.State, after: hmc.State) -> dict[str, Tensor]:
            local = self.near.local(mine.position(after.position))
            return observer.all_data(before, after) | {"local": local}

        params = smc.settings(particles.step_size, particles.spread, mine)
        kernel = hmc.build(mine.potential(estimand.energy), params)
        target = particles.target
        state = hmc.State(mine.coordinates(particles.position), target.energy, mine.pulled(target.gradient))
        schedule = chain.Schedule(at.every, at.every)
        state, part = chain.run(kernel, state, self.stream, schedule, observe, self.deadline)
        particles = particles._replace(
            position=mine.position(state.position),
            target=smc.Point(state.potential, mine.pushed(state.gradient)),
            moves=particles.moves + part.n_steps,
        )
        return at._replace(particles=particles, now=chain.extend(at.now, part), loss_coordinates=found)

    def _added(self, at: _At) -> _At:
        """Put the draws of the side under way beside the others."""
        evidence = (at.particles.log_evidence + self.sides[at.side].log_evidence).cpu()
        is_near = torch.full((self.groups,), at.side > 0, device="cpu")
        return at._replace(
            trace=chain.beside(at.trace, _of_living(at.now, evidence)),
            log_evidence=torch.cat([at.log_evidence, evidence]),
            is_near=torch.cat([at.is_near, is_near]),
            now=chain.nothing(),
            settled=0,
        )

    def _next_side(self, at: _At) -> _At:
        """Begin the next side, or the next round; or end."""
        side = (at.side + 1) % len(self.sides)
        if not side:
            took, self.round_begun = self.deadline.used_sec - self.round_begun, self.deadline.used_sec
            is_full = 2 * at.trace.acceptance.numel() > _MOST_DRAWS
            if is_full or self.deadline.left_sec < took or self._is_enough(at):
                return at._replace(ended=True)
        return at._replace(side=side, particles=self.drawn(side))

    def _is_enough(self, at: _At) -> bool:
        (value, error), weights, _ = self._found(at)
        is_checked = weights.mean(self._grouped(at.trace.values["virial"]))[1] <= _VIRIAL * self.estimand.dim
        return error <= self.wanted * abs(value) and is_checked and not weights.faults

    def _grouped(self, values: Tensor) -> Tensor:
        return values.unflatten(1, (-1, self.size))

    def _found(self, at: _At) -> tuple[tuple[float, float], Weights, Tensor]:
        """Return the LLC and its error, what draws count, and the adjusted draws."""
        values = at.trace.values
        seen = (self._grouped(values[name]) for name in ("excess", "local", "radius"))
        weights = weighed(Populations(at.log_evidence, at.is_near, *seen))
        used, precise = weights.used.repeat_interleave(self.size), values["excess"]
        mine = {name: value[:, used] for name, value in values.items()}
        found = mine["excess"]
        if weights.is_mixed:  # with parts, what they differ by is not known to control variates
            known = {"virial": float(self.estimand.dim), "loss_virial": float(at.loss_coordinates[1].sum())}
            found = adjusted(found, mine, known)
            precise = precise.index_copy(1, used.nonzero()[:, 0], found)
        value, error = weights.mean(self._grouped(precise))
        if rhat(found) <= TRIAL_GATE.rhat:  # an error of few populations is too small now and then
            error = max(error, mcse(found))
        return (value, math.hypot(error, rounded(self.estimand))), weights, precise

    def summarised(self, at: _At, times: dict[str, float]) -> tuple[dict[str, Any], chain.Trace]:
        """Return the metrics and the draws."""
        faults = self._unfinished(at)
        if not at.trace.n_draws and at.now.n_draws >= _FEWEST_DRAWS:
            at = self._added(at)
        if not at.trace.n_draws:
            empty = Traces(*[torch.empty(0, 0, device="cpu")] * 3)
            settings = times | {"temperature": at.particles.temperature}
            draws = Draws(empty, n_steps=at.particles.moves, truncated=True, settings=settings)
            return summarise(self.estimand, draws, TRIAL_GATE), chain.nothing()
        result, weights, precise = self._found(at)
        values = at.trace.values | {"adjusted": precise}
        excess, virial = (self._grouped(values[name]) for name in ("excess", "virial"))
        lowest = self.estimand.t * self.estimand.L0
        _, plain_error = weights.mean(excess)
        ratio, ratio_error = (number / self.estimand.dim for number in weights.mean(virial))
        settings = {
            **times,
            "control_gain": (plain_error / result[1]) ** 2,
            "populations": len(at.log_evidence),
            "populations_worth": weights.worth,
            "log_evidence": _log_mean(at.log_evidence[~at.is_near]) + lowest,
            "log_evidence_near": _log_mean(at.log_evidence[at.is_near]) + lowest,
            "is_weighted": not weights.is_mixed,
        }
        draws = Draws(
            self._shown(Traces(*(values[name] for name in Traces._fields)), weights),
            acceptance=float(at.trace.acceptance.mean()),
            divergences=float(at.trace.diverged.double().mean()),
            n_steps=at.particles.moves,
            truncated=result[1] > self.wanted * abs(result[0]),
            settings=settings,
            nature=Nature(is_exact=True, faults=(*faults, *weights.faults)),
            measured={"virial_ratio": ratio, "virial_se": ratio_error},
        )
        return summarise(self.estimand, draws, TRIAL_GATE, result), at.trace._replace(values=values)

    def _shown(self, traces: Traces, weights: Weights) -> Traces:
        """Return draws that stand for the posterior: particles as chains, or independent draws by weight."""
        if weights.is_mixed:
            used = weights.used.repeat_interleave(self.size)
            return Traces(*(trace[:, used] for trace in traces))
        shares = (weights.draws * weights.groups.unsqueeze(1)).flatten()
        if not bool((shares > 0).any()):
            return Traces(*(trace[:0] for trace in traces))
        generator = Generator("cpu").manual_seed(shares.numel())
        chosen = torch.multinomial(shares, _MOST_RESAMPLED, replacement=True, generator=generator)
        return Traces(*(trace.flatten()[chosen].unsqueeze(1) for trace in traces))

    def _unfinished(self, at: _At) -> tuple[Fault, ...]:
        """Tell what of the first round there was no time for, and about how much would do."""
        sides = len(at.log_evidence) // self.groups
        if sides >= len(self.sides):
            return ()
        place = "near w*" if at.side else "in the prior"
        done = sides + (0.5 + 0.5 * at.now.n_draws / _RECORDED if at.particles.temperature == 1.0 else 0.25)
        about = 2.0 * self.deadline.used_sec * len(self.sides) / done
        told = f"the budget ended before populations that begin {place} were done"
        return (("not_converged", f"{told}; about {float(f'{about:.1g}'):g} s would do", math.inf),)


def _near(estimand: Estimand, generator: Generator, deadline: Deadline) -> Normal:
    """Return the normal approximation at w*: of the diagonal alone where the Hessian would take long."""
    if not is_quick(estimand, generator, deadline, _HESSIAN_SHARE):
        stiffness = (estimand.t * estimand.target.diagonal).clamp(min=0.0)
        start = normal.prior(estimand.centre, estimand.gamma)
        return start._replace(stiffness=torch.where(torch.isfinite(stiffness), stiffness, 0.0))
    posterior = laplace.Posterior(estimand.loss_hvp, estimand.t, estimand.gamma)
    whole = laplace.whole(posterior, estimand.centre)
    basis = whole.basis.contiguous()  # as it will lie when it has been kept and read back
    return Normal(estimand.centre, whole.stiffness, basis, estimand.gamma)


def particles_of(estimand: Estimand) -> int:
    """Return the number of particles of a population: fewer where a gradient takes long."""
    size = max(estimand.dim, _PER_EXAMPLE * estimand.n if estimand.target.loss.has_data else 0)
    affordable = _ELEMENTS / (2 * GROUPS * size)
    return int(max(_FEWEST, min(_MOST, 2 ** int(math.log2(max(1.0, affordable))))))


def kept_values(estimand: Estimand) -> int:
    """Return how many numbers are kept at most: particles a dozen times, draws, and the Hessian."""
    whole = 4 * estimand.dim**2 if estimand.dim <= EXACT_LIMIT else 0
    return 12 * 2 * GROUPS * particles_of(estimand) * estimand.dim + 6 * _MOST_DRAWS + whole


def fewest_gradients(estimand: Estimand) -> tuple[int, int]:
    """Return of how many particles and how many: temperatures, settling and draws of moves of a few steps."""
    steps = 4 * (12 * _MOVES + 40 + 5 * _RECORDED)
    return GROUPS * particles_of(estimand), 2 * steps


def _of_living(trace: chain.Trace, log_evidence: Tensor) -> chain.Trace:
    """Make numbers of what groups without evidence saw, which do not count: their loss is nowhere finite."""
    dead = ~torch.isfinite(log_evidence).repeat_interleave(trace.acceptance.shape[1] // len(log_evidence))
    return trace._replace(values={name: value.masked_fill(dead, 0.0) for name, value in trace.values.items()})


def _log_mean(log_values: Tensor) -> float:
    return float(log_values.logsumexp(0)) - math.log(len(log_values)) if len(log_values) else math.nan
