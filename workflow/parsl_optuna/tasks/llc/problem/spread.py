"""A loss on several devices: each has a copy, and computes some of the chains in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from itertools import repeat

import torch
from torch import Tensor, nn

from parsl_optuna.core.clock import Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.kernels.device import devices_named, without_number
from parsl_optuna.tasks.llc.problem.interference import check_apart, check_copy
from parsl_optuna.tasks.llc.problem.losses import Loss
from parsl_optuna.tasks.llc.problem.module import ModuleLoss
from parsl_optuna.tasks.llc.problem.posed import first_line, quiet, unaccelerated_attention
from parsl_optuna.tasks.llc.problem.spec import check_device

_Evaluation = Callable[[Loss, Tensor, Tensor | None], tuple[Tensor, ...]]


class SpreadLoss:
    """A loss of which every device computes some of the chains, in the order of the chains.

    Args:
        copies: Of one loss, each on its device; on the first one's lie the chains, and the results.
        devices: Of the copies.
    """

    def __init__(self, copies: Sequence[Loss], devices: Sequence[torch.device]) -> None:
        first = copies[0]
        self.dim, self.n_examples = first.dim, first.n_examples
        self.has_data, self.together, self.pass_bytes = first.has_data, first.together, first.pass_bytes
        self._copies, self._devices = copies, devices
        self._threads = [ThreadPoolExecutor(1, f"device-{at}") for at in range(len(devices))]
        if devices[0].type == "cpu":
            self._share_cores()

    def value(self, w: Tensor) -> Tensor:
        """Return losses ``(chains,)`` on all examples."""
        (losses,) = self._evaluated(lambda loss, part, _: (loss.value(part),), w, None)
        return losses

    def value_and_grad(self, w: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses ``(chains,)`` and gradients ``(chains, dim)``."""
        losses, gradients = self._evaluated(
            lambda loss, part, chosen: loss.value_and_grad(part, chosen), w, rows
        )
        return losses, gradients

    def _evaluated(self, evaluate: _Evaluation, w: Tensor, rows: Tensor | None) -> list[Tensor]:
        """Return what the devices find for their chains, joined; no thread goes on behind it, or an error."""
        if len(w) < 2:
            return list(evaluate(self._copies[0], w, rows))
        parts = w.tensor_split(min(len(w), len(self._copies)))
        own = rows is not None and rows.ndim == 2
        chosen = rows.tensor_split(len(parts)) if rows is not None and own else repeat(rows)
        begun: list[Future[tuple[Tensor, ...]]] = []
        with quiet(), unaccelerated_attention():  # of the whole process: threads must not end them
            try:
                for at, (part, its_rows) in enumerate(zip(parts, chosen, strict=False)):
                    begun.append(self._begun(at, evaluate, part, its_rows))
                found = [future.result() for future in begun]
            finally:
                wait(begun)
        return [torch.cat([one.to(w.device) for one in column]) for column in zip(*found, strict=True)]

    def _begun(
        self, at: int, evaluate: _Evaluation, w: Tensor, rows: Tensor | None
    ) -> Future[tuple[Tensor, ...]]:
        """Begin an evaluation on a device, on the stream of which its arguments are copied there."""
        loss, device = self._copies[at], self._devices[at]
        stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
        w, rows = w.to(device), None if rows is None else rows.to(device)

        def run() -> tuple[Tensor, ...]:
            with nullcontext() if stream is None else torch.cuda.stream(stream):
                return evaluate(loss, w, rows)

        return self._threads[at].submit(run)

    def _share_cores(self) -> None:
        """Let all threads together take as many cores as torch takes here."""
        cores = torch.get_num_threads()
        for thread in self._threads:
            thread.submit(_take, max(1, cores // len(self._threads))).result()
        torch.set_num_threads(cores)  # which each of them has changed for threads that begin later


def _take(cores: int) -> None:
    """Compute on so many cores in this thread."""
    torch.set_num_threads(cores)
    torch.get_num_threads()  # from here on the thread does not look at what others set


def spread(first: Loss, devices: Sequence[torch.device], on: Callable[[torch.device], Loss]) -> Loss:
    """Return a loss that computes on all of *devices*, of which there may be one.

    Args:
        first: On the first of them.
        devices: Where.
        on: Gives a copy on a device.

    Raises:
        SpecError: The user's code cannot compute on one of them, or not on several at the same time.
    """
    if len(devices) == 1:
        return first
    copies = [first]
    for device in devices[1:]:
        try:
            with without_number(device):
                copies.append(on(device))
        except Expired:
            raise
        except Exception as error:
            raise SpecError(f"device '{device}': a copy fails there: {first_line(error)}") from error
    own = [copy for copy in copies if isinstance(copy, ModuleLoss)]
    for copy, device in zip(own[1:], devices[1:], strict=False):
        check_copy(own[0], copy, device)
    if own:
        check_apart(own[0], own[1], devices[1])
    return SpreadLoss(copies, devices)


def devices_for(names: str | None, model: nn.Module, precision: str) -> list[torch.device]:
    """Return the devices of these names; by default that of the model.

    Raises:
        SpecError: There is none of such a name here, or it lacks that precision.
    """
    if names is None:
        first = next(model.parameters(), None)
        found = [torch.device("cpu") if first is None else first.device]
    else:
        check_device(names, "float32")
        found = devices_named(names)
    if found[0].type == "mps" and precision == "float64":
        raise SpecError("precision float64: device mps has none; take precision='float32'")
    return found
