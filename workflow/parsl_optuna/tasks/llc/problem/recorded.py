"""Observables: functions of the weights, and losses of single examples, evaluated at many weight vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import Examples, axes, mapped, read
from parsl_optuna.tasks.llc.problem.module import ModuleLoss
from parsl_optuna.tasks.llc.problem.posed import Posed, as_called, first_line

RESERVED = ("loss", "excess", "controlled", "distance")
"""Names that the draws of an estimate have in any case."""

_TRIED = 4
"""Examples on which it is tried whether they can go together."""

_MOVED = 0.01
"""Distance, relative to the weights, at which an observable that depends on them differs."""


class Recording(NamedTuple):
    """What else to record of draws.

    Attributes:
        at: Weights ``(chains, dim)`` to observables ``(chains, *shape)`` by name.
        size: Number of values of one chain.
    """

    at: Callable[[Tensor], dict[str, Tensor]] = lambda _: {}
    size: int = 0


NOTHING = Recording()


@dataclass(frozen=True)
class Source:
    """One observable as a user gives it.

    Attributes:
        function: ``(model) -> value`` or ``(model, batch) -> value``; None for the losses of single examples.
        examples: The batch; None for a function of the model alone.
    """

    function: Callable[..., Any] | None
    examples: Examples | None


def sources(observables: Any, deadline: Deadline, most_bytes: float) -> dict[str, Source]:
    """Read what *observables* of `parsl_optuna.estimate_llc` names.

    Raises:
        SpecError: No mapping, a name that is taken, or data that cannot be read.
    """
    if observables is None:
        return {}
    if not isinstance(observables, Mapping):
        raise SpecError(
            f"observables: must be a mapping of names to functions or data, got {type(observables).__name__}"
        )
    found = {}
    for name, value in observables.items():
        if not isinstance(name, str) or not name or name in RESERVED:
            raise SpecError(f"observables: {name!r}: a name must be a text other than {', '.join(RESERVED)}")
        function, data = value, None
        if isinstance(value, tuple) and len(value) == 2 and callable(value[0]):
            function, data = value
        elif not callable(value):
            function, data = None, value
        if isinstance(function, nn.Module):
            raise SpecError(
                f"observables: {name}: a module has weights of its own; give a function of (model)"
            )
        try:
            found[name] = Source(function, None if data is None else read(data, deadline, most_bytes))
        except SpecError as error:
            raise SpecError(f"observables: {name}: {error}") from error
    return found


class Recorder:
    """Evaluates observables.

    Args:
        loss: Of the module.
        given: What to evaluate, by name.

    Attributes:
        notes: What a reader of the values should know.
        size: Number of values of one chain.

    Raises:
        SpecError: One that fails, is random, or is no finite numbers at the weights of the model.
    """

    def __init__(self, loss: ModuleLoss, given: Mapping[str, Source]) -> None:
        self._loss = loss
        self._functions = {name: self._function(source) for name, source in given.items()}
        self._together: dict[str, bool] = {}
        self.notes: list[str] = []
        self.size = 0
        for name in given:
            self._try(name)

    def __call__(self, w: Tensor) -> dict[str, Tensor]:
        """Return observables ``(chains, *shape)`` at *w* ``(chains, dim)``."""
        return {name: self._evaluated(name, w, self._together[name]) for name in self._functions}

    def _evaluated(self, name: str, w: Tensor, together: bool) -> Tensor:
        return self._loss.applied(self._functions[name], w, together=together)

    def _function(self, source: Source) -> Callable[[Posed], Tensor]:
        w = self._loss.flat()
        given = None if source.examples is None else source.examples.to(w.device, w.dtype)
        if source.function is None:
            assert given is not None
            return _losses_of(as_called(self._loss.calling, given, w.dtype), self._loss.rows_at_once)
        function = source.function
        rest = () if given is None else (given.batch,)
        # A copy: what a function returns may be a parameter, which the next chain overwrites.
        return lambda posed: (
            torch.as_tensor(function(posed.model, *rest), device=w.device).detach().to(w, copy=True)
        )

    def _try(self, name: str) -> None:
        """Find out whether to trust an observable, and whether all chains can be evaluated together."""
        start = self._loss.flat()
        noise = torch.randn(
            start.shape, generator=Generator("cpu").manual_seed(0), dtype=torch.float64, device="cpu"
        )
        moved = start + _MOVED * (start.abs().mean() + 0.1) * noise.to(start)
        w = torch.stack([start, moved])
        try:
            values = self._evaluated(name, w, together=False)
        except (SpecError, Expired):
            raise
        except Exception as error:
            raise SpecError(
                f"observables: {name}: it raised {type(error).__name__}: {first_line(error)}"
            ) from error
        if not bool(torch.isfinite(values[0]).all()) or not values[0].numel():
            raise SpecError(f"observables: {name}: must be finite numbers at the weights of the model")
        again = self._evaluated(name, w, together=False)
        if not torch.allclose(values, again, rtol=1e-5, equal_nan=True):
            raise SpecError(
                f"observables: {name}: gives other values at the same weights; it must not be random"
            )
        self.size += values[0].numel()
        if torch.equal(values[0], values[1]):
            self.notes.append(
                f"observable {name} is the same at other weights: does it use a model that is no argument?"
            )
        self._together[name] = self._loss.together and self._agrees(name, w, values)

    def _agrees(self, name: str, w: Tensor, values: Tensor) -> bool:
        try:
            together = self._evaluated(name, w, together=True)
        except Expired:
            raise
        except Exception:  # what vmap cannot batch, whatever it says
            return False
        precise = w.dtype == torch.float64
        return torch.allclose(
            together, values, rtol=1e-7 if precise else 1e-3, atol=1e-9 if precise else 1e-5, equal_nan=True
        )


def _losses_of(data: Examples, at_once: int) -> Callable[[Posed], Tensor]:
    """Return what gives the loss of every example ``(n,)``: rows go through the model as batches of one."""
    rows = mapped(data.batch, lambda tensor: tensor.unsqueeze(1))
    whole = Examples(rows, data.n)
    chunks = [whole.rows(slice(at, at + at_once)) for at in range(0, data.n, at_once)]

    def batched(posed: Posed) -> Tensor:
        return torch.cat([torch.vmap(posed, in_dims=(axes(chunk),))(chunk) for chunk in chunks])

    def one_by_one(posed: Posed) -> Tensor:
        return torch.stack([posed(whole.rows(at)) for at in range(data.n)])

    way: list[Callable[[Posed], Tensor]] = []

    def losses(posed: Posed) -> Tensor:
        if not way:  # no batching rule for GRU, LSTM, and control flow on numbers
            way.append(batched if _has_rule(posed, whole) else one_by_one)
        return way[0](posed)

    return losses


def _has_rule(posed: Posed, rows: Examples) -> bool:
    """Whether examples can go together, to the same losses."""
    few = rows.rows(slice(0, _TRIED))
    try:
        together = torch.vmap(posed, in_dims=(axes(few),))(few)
        apart = torch.stack([posed(rows.rows(at)) for at in range(min(_TRIED, rows.n))])
    except RuntimeError:
        return False
    return torch.allclose(together, apart, rtol=1e-3 if together.dtype == torch.float32 else 1e-7)
