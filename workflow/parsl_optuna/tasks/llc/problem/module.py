"""Any `torch.nn.Module` on any data as a loss of many weight vectors at once.

Two ways to the same numbers: chains together by `torch.vmap`, which saves the overhead of small networks, or
one by one by plain backward passes, which any module allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.tasks.llc.problem.blame import users_code
from parsl_optuna.tasks.llc.problem.examples import Batch, Examples, axes, tensors
from parsl_optuna.tasks.llc.problem.graph import kept
from parsl_optuna.tasks.llc.problem.posed import (
    Calling,
    LossFunction,
    Posed,
    first_line,
    in_precision,
    private_copy,
    quiet,
    rewritten,
    unaccelerated_attention,
    unfused_attention,
)

_TOGETHER_BYTES = 2**19
"""Activations of one chain up to which chains go together: beyond, arithmetic outweighs overhead.

Measured with 8 chains of MLPs, a CNN, a transformer block and a GRU (benchmarks/gradient.py), on a CPU.
"""

_TOGETHER_DIM = 20_000
"""Parameters up to which chains go together: gradients of larger ones are mostly traffic of memory."""

_TOGETHER_BYTES_ELSEWHERE, _TOGETHER_DIM_ELSEWHERE = 2**28, 2**22
"""The same on a GPU, whose calls take some 5 microseconds each, in which it moves 10 MiB."""

_CHUNK_BYTES, _CHUNK_BYTES_ELSEWHERE = 2**26, 2**30
"""Activations that a pass over some examples saves; on a CPU larger ones leave its caches."""

_CHUNK_SHARE = 0.125
"""The same of a GPU of CUDA, of its memory: the larger the passes, the fewer there are to launch."""

_MEASURED = 32
"""Examples by which activations are measured."""

_ROWS_AT_A_TIME = 2048
"""Examples that the choice of a way is made for, of larger data sets: minibatches and chunks are about as
large."""

_TRIED_CHAINS, _TRIED = 2, 4
_AGREEMENT = {torch.float64: 1e-6, torch.float32: 1e-2}
"""Largest relative difference between the gradients of both ways."""


class Way(NamedTuple):
    """How chains are run: together or one by one, and what kept them from going together."""

    together: bool
    reason: str | None = None

    def __str__(self) -> str:
        if self.together:
            return "together"
        return "one by one" + (f" ({self.reason})" if self.reason else "")


class _Applied(nn.Module):
    """A function of model and loss as a module, so that it can be called with other weights."""

    def __init__(self, posed: Posed, function: Callable[[Posed], Tensor]) -> None:
        super().__init__()
        self.posed, self.function = posed, function

    def forward(self) -> Tensor:
        """Return what the function gives."""
        return self.function(self.posed)


class ModuleLoss:
    """The loss of a module as a function of some of its parameters.

    Args:
        posed: Model and loss, in evaluation mode and in the wanted arithmetic; changed by every call.
        names: Of the parameters that vary; the others stay as they are.
        examples: The data, as the loss takes them.
        most_bytes: Memory that the activations of one pass may take.
        together: Whether chains go together; None for what is faster.
        deadline: When it has passed, the next pass raises `Expired`.

    Attributes:
        way: How chains are run.
        together: Whether they share the overhead of a call.
    """

    has_data = True

    def __init__(
        self,
        posed: Posed,
        names: Sequence[str],
        examples: Examples,
        most_bytes: float = math.inf,
        *,
        together: bool | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._deadline = deadline or Deadline()
        self._posed, self._examples = posed.requires_grad_(requires_grad=False), examples
        every = dict(posed.model.named_parameters())
        self._names = [f"model.{name}" for name in names]
        self._live = [every[name] for name in names]
        self._shapes = [value.shape for value in self._live]
        self._sizes = [value.numel() for value in self._live]
        self.n_examples, self.dim = examples.n, sum(self._sizes)
        self._flat = self._gathered()
        self._check_state()
        self._row_bytes = self._measured()
        self.pass_bytes = self._row_bytes * examples.n
        self._most_bytes = min(most_bytes, _chunk_bytes(self._flat.device))
        self._all = torch.vmap(self._of_weights, in_dims=(0, None))
        self._each = torch.vmap(self._of_weights, in_dims=(0, axes(examples.batch)))
        self._places = [(value.data_ptr(), value._version) for value in self._live]
        self.way = self._chosen(together)
        self.together = self.way.together

    def on(self, model: nn.Module, loss: LossFunction, device: torch.device) -> ModuleLoss:
        """Return the same on another device.

        Args:
            model: The user's, as what is kept of passes cannot always be copied; left alone.
            loss: The user's.
            device: Where.
        """
        mine, dtype = self._posed, self._flat.dtype
        with quiet():
            copied = private_copy(model).to(device, dtype)
        posed = Posed(copied, in_precision(loss, device, dtype), mine.calling)
        posed.differentiates, posed.deadline = mine.differentiates, mine.deadline
        for name, value in posed.named_buffers():  # which passes may have changed before this loss was made
            value.data = self._buffers[name].to(device, copy=True)
        names = [name.removeprefix("model.") for name in self._names]
        examples, together = self._examples.to(device, dtype), self.way.together
        return ModuleLoss(
            posed, names, examples, self._most_bytes, together=together, deadline=self._deadline
        )

    def flat(self) -> Tensor:
        """Return the weights that the module has now, ``(dim,)``."""
        return self._flat.clone()

    def tried(self, w: Tensor) -> Tensor:
        """Return loss and gradient ``(1 + dim,)`` of a few examples at *w* ``(dim,)``, by a plain pass."""
        found = w.new_zeros(1 + self.dim)
        with quiet(), unaccelerated_attention(), torch.enable_grad(), self._told():
            self._add(self._examples.rows(slice(0, _TRIED)), 1.0, w, found[0], found[1:])
        return found

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)`` on all examples."""
        total = w.new_zeros(len(w))
        with quiet(), unaccelerated_attention(), torch.no_grad(), self._told(), self._held(w):
            for batch, share in self._chunks(len(w), None):
                total += share * self._values(w, batch)
        return total

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``."""
        value, gradient = w.new_zeros(len(w)), torch.zeros_like(w)
        own = rows is not None and rows.ndim == 2
        with quiet(), unaccelerated_attention(), torch.enable_grad(), self._told(), self._held(w):
            if own and not self.way.together:
                assert rows is not None
                for chain, chosen in enumerate(rows):
                    for batch, share in self._chunks(1, chosen):
                        self._add(batch, share, w[chain], value[chain], gradient[chain])
                return value, gradient
            for batch, share in self._chunks(len(w), rows):
                if self.way.together:
                    parts, slopes = self._differentiated(w, batch, own=own)
                    value, gradient = value.add_(parts, alpha=share), gradient.add_(slopes, alpha=share)
                    continue
                for chain in range(len(w)):
                    self._add(batch, share, w[chain], value[chain], gradient[chain])
        return value, gradient

    @property
    def calling(self) -> Calling:
        """How the loss is called."""
        return self._posed.calling

    @property
    def rows_at_once(self) -> int:
        """Examples of a pass that fits the memory."""
        return max(1, int(self._most_bytes / (2.0 * self._row_bytes)))

    def applied(self, function: Callable[[Posed], Tensor], w: Tensor, *, together: bool) -> Tensor:
        """Return what a function of model and loss gives at every one of *w* ``(chains, dim)``, stacked."""
        applied = _Applied(self._posed, function)
        with quiet(), unaccelerated_attention(), torch.set_grad_enabled(self._posed.differentiates):
            if together:
                with unfused_attention(w.device):
                    return torch.vmap(lambda one: functional_call(applied, self._named(one, "posed."), ()))(w)
            values, before = [], self.flat()
            for one in w:
                self._deadline.check()
                with torch.no_grad():
                    self._flat.copy_(one)
                changing = self._buffers if self._changing else {}
                fresh = {f"posed.{name}": value.clone() for name, value in changing.items()}
                value = functional_call(applied, fresh, ()) if fresh else applied()
                values.append(value.detach())
            with torch.no_grad():
                self._flat.copy_(before)
        return torch.stack(values)

    def _told(self) -> AbstractContextManager[None]:
        """Tell of what the user's code raises which example it is about."""
        return users_code(self._posed, self._examples)

    @contextmanager
    def _held(self, w: Tensor) -> Iterator[None]:
        """Refuse passes that rewrite or move weights; torch counts writes, comparing would wait for a GPU."""
        before = w._version
        yield
        if w._version != before:
            raise rewritten("weights")
        for name, value, (place, version) in zip(self._names, self._live, self._places, strict=True):
            if value.data_ptr() != place or value._version != version:
                raise rewritten(name.removeprefix("model."))

    def _add(self, batch: Batch, share: float, w: Tensor, value: Tensor, gradient: Tensor) -> None:
        """Add the share of a batch to the loss ``()`` and the gradient ``(dim,)`` of one chain, in place."""
        with torch.no_grad():
            self._flat.copy_(w)
        for parameter in self._live:
            parameter.requires_grad_()
        loss = self._loss(batch)
        if loss.requires_grad:
            slopes = torch.autograd.grad(loss, self._live, allow_unused=True)
            at = 0
            for slope, size in zip(slopes, self._sizes, strict=True):
                if slope is not None:
                    gradient[at : at + size].add_(slope.reshape(-1), alpha=share)
                at += size
        value.add_(loss.detach(), alpha=share)

    def _values(self, w: Tensor, batch: Batch) -> Tensor:
        """Return the losses of a batch ``(chains,)``."""
        if self.way.together:
            with unfused_attention(w.device):
                return self._all(w, batch)
        losses = []
        for one in w:
            self._flat.copy_(one)
            losses.append(self._loss(batch))
        return torch.stack(losses)

    def _differentiated(self, w: Tensor, batch: Batch, *, own: bool) -> tuple[Tensor, Tensor]:
        """Return losses and gradients of a batch, all chains together."""
        self._deadline.check()
        weights = w.detach().requires_grad_()
        with unfused_attention(w.device):
            losses = (self._each if own else self._all)(weights, batch)
            (gradient,) = torch.autograd.grad(losses.sum(), weights)
        return losses.detach(), gradient

    def _loss(self, batch: Batch) -> Tensor:
        self._deadline.check()
        if not self._changing:
            return self._posed(batch)
        fresh = {name: value.clone() for name, value in self._buffers.items()}
        return functional_call(self._posed, fresh, (batch,))

    def _of_weights(self, w: Tensor, batch: Batch) -> Tensor:
        return functional_call(self._posed, self._named(w), (batch,))

    def _named(self, w: Tensor, prefix: str = "") -> dict[str, Tensor]:
        """Return the parameters of a weight vector ``(dim,)`` by name."""
        named = zip(self._names, w.split(self._sizes), self._shapes, strict=True)
        return {prefix + name: part.view(shape) for name, part, shape in named}

    def _gathered(self) -> Tensor:
        """Make the live parameters views of one flat tensor ``(dim,)``; return it."""
        flat = torch.cat([value.detach().reshape(-1) for value in self._live])
        for value, part, shape in zip(self._live, flat.split(self._sizes), self._shapes, strict=True):
            value.data = part.view(shape)
        return flat

    def _check_state(self) -> None:
        """Find out whether a forward pass changes buffers, which then has to be undone for each."""
        self._changing = False
        self._buffers = {name: value.clone() for name, value in self._posed.named_buffers()}
        with quiet(), unaccelerated_attention(), torch.no_grad(), self._told():
            self._posed(self._examples.rows(slice(0, _MEASURED)))
        after = dict(self._posed.named_buffers())
        self._changing = any(not torch.equal(value, after[name]) for name, value in self._buffers.items())

    def _measured(self) -> float:
        """Return bytes of activations that a backward pass keeps per example of one chain."""
        saved: dict[int, int] = {}
        rows = min(_MEASURED, self.n_examples)
        batch = self._examples.rows(torch.arange(rows, device=self._flat.device))
        there = {value.untyped_storage().data_ptr() for value in [*self._posed.parameters(), *tensors(batch)]}

        def pack(tensor: Tensor) -> Tensor:
            place = tensor.untyped_storage().data_ptr()
            if place not in there:
                saved[place] = max(saved.get(place, 0), tensor.numel() * tensor.element_size())
            return tensor

        for parameter in self._live:
            parameter.requires_grad_()
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with quiet(), unaccelerated_attention(), torch.enable_grad():
            try:
                with hooks:
                    loss = self._loss(batch)
            except RuntimeError:  # functions of torch.func allow no hooks
                loss = self._loss(batch)
                for tensor in kept(loss):
                    pack(tensor)
        del loss  # only now may its memory be used again
        return max(sum(saved.values()) / rows, 1.0)

    def _chosen(self, together: bool | None) -> Way:
        """Choose the faster way that works; by sizes, so that the same call gives the same numbers."""
        rows, on_cpu = min(self.n_examples, _ROWS_AT_A_TIME), self._flat.device.type == "cpu"
        most_bytes = _TOGETHER_BYTES if on_cpu else _TOGETHER_BYTES_ELSEWHERE
        most_dim = _TOGETHER_DIM if on_cpu else _TOGETHER_DIM_ELSEWHERE
        large = self._row_bytes * rows > most_bytes or self.dim > most_dim
        if self._changing:
            return Way(together=False, reason="a forward pass changes buffers")
        if together is False or (together is None and large):
            return Way(together=False)
        reason = self._obstacle()
        return Way(reason is None, reason)

    def _obstacle(self) -> str | None:
        """Return why chains cannot go together; None if they can, to the same numbers."""
        batch = self._examples.rows(slice(0, min(_MEASURED, self.n_examples)))
        on_cpu = {"generator": torch.Generator("cpu").manual_seed(0), "device": "cpu"}
        noise = torch.randn(_TRIED_CHAINS, self.dim, dtype=torch.float64, **on_cpu).to(self._flat)
        start = self.flat()
        w = start + 0.05 * (start.abs().mean() + 0.1) * noise
        try:
            with quiet(), unaccelerated_attention(), torch.enable_grad():
                losses, slopes = self._differentiated(w, batch, own=False)
            with quiet(), unaccelerated_attention(), unfused_attention(w.device), torch.no_grad():
                self._all(w, batch)
        except Expired:
            raise
        except Exception as error:
            return f"{type(error).__name__}: {first_line(error)[:90]}"
        value, gradient = torch.zeros_like(losses), torch.zeros_like(w)
        with quiet(), unaccelerated_attention(), torch.enable_grad():
            for chain in range(_TRIED_CHAINS):
                self._add(batch, 1.0, w[chain], value[chain], gradient[chain])
        self._flat.copy_(start)
        allowed = _AGREEMENT.get(w.dtype, 1e-2)
        off = float((gradient - slopes).norm()) > allowed * float(gradient.norm()) + 1e-12
        if off or float((value - losses).abs().max()) > allowed * float(value.abs().max()) + 1e-12:
            return "chains together give other numbers"
        return None

    def _chunks(self, chains: int, rows: Tensor | None) -> Iterator[tuple[Batch, float]]:
        """Yield batches of all examples, or of *rows*, that fit the memory; with their shares of the rows."""
        count = self.n_examples if rows is None else rows.shape[-1]
        at_once = chains if self.way.together else 1
        size = max(1, int(self._most_bytes / (2.0 * self._row_bytes * at_once)))
        if rows is None and size >= count:
            yield self._examples.batch, 1.0
            return
        pieces = math.ceil(count / size)
        for piece in range(pieces):
            begin, end = piece * count // pieces, (piece + 1) * count // pieces
            chosen: Any = slice(begin, end) if rows is None else rows[..., begin:end]
            yield self._examples.rows(chosen), (end - begin) / count


def _chunk_bytes(device: torch.device) -> float:
    """Return how much a pass may save on a device."""
    if device.type == "cuda":
        return _CHUNK_SHARE * torch.cuda.get_device_properties(device).total_memory
    return _CHUNK_BYTES if device.type == "cpu" else _CHUNK_BYTES_ELSEWHERE
