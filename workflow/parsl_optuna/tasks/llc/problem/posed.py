"""A module and its loss as one function of a batch: how the loss is called, and in which arithmetic."""

from __future__ import annotations

import copy
import inspect
import io
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import Batch, Examples, mapped, tensors

LossFunction = Callable[..., Tensor]
"""``(outputs, y) -> ()`` or ``(model, batch) -> ()``, a mean over examples."""

_MODEL_NAMES = frozenset({"model", "module", "net", "network"})
_TRIED = 4
"""Examples on which ways of calling are tried."""


@dataclass(frozen=True)
class Calling:
    """How the loss is called.

    Attributes:
        form: ``outputs``: loss(model(x), y); ``model``: loss(model, batch).
        spread: Whether nested inputs become arguments of the model: ``model(**x)`` or ``model(*x)``.
        floating: Columns of a pair, 0 for x and 1 for y, whose integers become floating-point numbers.
    """

    form: Literal["outputs", "model"]
    spread: bool = True
    floating: tuple[int, ...] = ()

    @property
    def said(self) -> str:
        """The call as a user would write it."""
        return "loss(model, batch)" if self.form == "model" else "loss(model(x), y)"


class Posed(nn.Module):
    """The loss of a batch as a module, whose parameters are those of the model: ``forward(batch) -> ()``.

    Attributes:
        differentiates: Whether model or loss take derivatives themselves, as by inputs in
            physics-informed networks, so that they fail without gradients.
        deadline: When it has passed, a call raises `Expired`.
    """

    def __init__(self, model: nn.Module, loss: LossFunction, calling: Calling) -> None:
        super().__init__()
        self.model, self.loss, self.calling = model, loss, calling
        self.differentiates = False
        self.deadline: Deadline | None = None

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch; raise `Expired` where the deadline has passed."""
        if self.deadline is not None:
            self.deadline.check()
        wanted = torch.is_grad_enabled()
        with torch.set_grad_enabled(wanted or self.differentiates):  # puts back what the user's code switches
            loss = self._of(batch)
        return loss.detach() if self.differentiates and not wanted else loss

    def _of(self, batch: Batch) -> Tensor:
        if self.calling.form == "model":
            return self.loss(self.model, batch)
        x, y = batch
        return self.loss(self.outputs(x), y)

    def outputs(self, x: Batch) -> Any:
        """Return what the model makes of inputs."""
        if self.calling.spread and isinstance(x, Mapping):
            return self.model(**x)
        if self.calling.spread and isinstance(x, (tuple, list)):
            return self.model(*x)
        return self.model(x)


def unwrapped(model: Any) -> nn.Module:
    """Return what a compiled or data-parallel module wraps; any other module as it is.

    Raises:
        SpecError: It is no module, or one without weights.
    """
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise SpecError(f"model: is the class {model.__name__}; give a trained module of it")
    if isinstance(model, Mapping) and any(isinstance(part, nn.Module) for part in model.values()):
        raise SpecError("model: is a mapping of modules; make them one, by nn.ModuleDict")
    if isinstance(model, Mapping):
        raise SpecError("model: is a mapping of weights; load them into a module with load_state_dict()")
    if not isinstance(model, nn.Module):
        raise SpecError(f"model: must be a torch.nn.Module, got a {type(model).__name__}")
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = inner.module
    if any(value.is_meta for value in (*inner.parameters(), *inner.buffers())):
        raise SpecError("model: has weights on device meta, which have no values; load them first")
    return inner


def private_copy(model: nn.Module) -> nn.Module:
    """Copy a module, in evaluation mode; compiled and data-parallel ones give what they wrap.

    Raises:
        SpecError: It cannot be copied.
    """
    inner = unwrapped(model)
    try:
        copied = _reloaded(inner) if isinstance(inner, torch.jit.ScriptModule) else _deep_copy(inner)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise SpecError(f"model: cannot be copied: {first_line(error)}") from error
    copied.eval()
    for part in copied.modules():
        if isinstance(part, nn.RNNBase):  # cuDNN has a backward pass of these in training mode only
            part.train()
            part.dropout = 0.0
            part.flatten_parameters = _nothing  # it moves weights on CUDA, away from what is sampled
        written: Any = getattr(part, "_orig_mod", None)
        if isinstance(written, nn.Module):  # compiling takes longer than sampling
            part.forward = written.__call__
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)):  # of the form of the gradient alone
            part.sparse = False
        if isinstance(part, nn.Embedding):  # it leaves the padding row out of the gradient, not of the loss
            part.padding_idx = None
    return copied


def _nothing() -> None:
    """Leave weights where they are."""


def uncompiled(loss: Any) -> Any:
    """Return what `torch.compile` wraps; any other loss as it is."""
    return getattr(loss, "_orig_mod", getattr(loss, "_torchdynamo_orig_callable", loss))


def _reloaded(model: torch.jit.ScriptModule) -> nn.Module:
    """Copy a scripted module; a deep copy would compute with the parameters of the original."""
    stream = io.BytesIO()
    torch.jit.save(model, stream)
    stream.seek(0)
    return torch.jit.load(stream, map_location="cpu")


def _deep_copy(module: nn.Module) -> nn.Module:
    """Copy a module; results that it keeps, such as a weight of `nn.utils.weight_norm`, as numbers."""
    memo: dict[int, Any] = {id(value): value.detach().clone() for value in _results(module)}
    return copy.deepcopy(module, memo)


def _results(module: nn.Module) -> list[Tensor]:
    """Return tensors with a history, which cannot be copied, in a module and what it keeps."""
    todo, seen, found = [module], dict[int, Any](), []
    while todo:
        value: Any = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value  # kept: another value must not get its id
        if isinstance(value, Tensor):
            found += [value] if value.grad_fn is not None else []
        elif isinstance(value, Mapping):
            todo += value.values()
        elif isinstance(value, (list, tuple, set, deque)):
            todo += value
        elif not isinstance(value, (type, ModuleType, FunctionType)):
            todo += getattr(value, "__dict__", {}).values()
    return found


def in_precision(loss: LossFunction, device: torch.device, dtype: torch.dtype) -> LossFunction:
    """Return the loss with its own tensors, such as class weights, on a device and in *dtype*."""
    if not isinstance(loss, nn.Module):
        return loss
    try:
        copied = _deep_copy(loss)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise SpecError(f"loss: cannot be copied: {first_line(error)}") from error
    return copied.eval().to(device, dtype).requires_grad_(requires_grad=False)


def as_called(calling: Calling, examples: Examples, dtype: torch.dtype) -> Examples:
    """Return the data with integers made floating-point numbers where the call needs that."""
    if not calling.floating:
        return examples
    columns = [
        mapped(column, lambda tensor: tensor if tensor.is_floating_point() else tensor.to(dtype))
        if index in calling.floating
        else column
        for index, column in enumerate(examples.batch)
    ]
    return Examples(type(examples.batch)(columns), examples.n, examples.notes)


def pose_loss(model: nn.Module, loss: LossFunction, examples: Examples, dtype: torch.dtype) -> Posed:
    """Find out how *loss* is called: the first way in which it gives one number with a gradient.

    Args:
        model: A `private_copy`, in *dtype*.
        loss: The user's, `in_precision`.
        examples: The data, in *dtype*.
        dtype: Arithmetic.

    Raises:
        SpecError: No way of calling works; the message is that of the most likely one.
    """
    ways = _ways(loss, examples)
    few = Examples(mapped(examples.rows(slice(0, _TRIED)), torch.clone), min(_TRIED, examples.n))
    first: tuple[Posed, Exception] | None = None
    for way in ways:
        posed = Posed(model, loss, way)
        try:
            with unaccelerated_attention(), quiet(), torch.enable_grad():
                value = posed(as_called(way, few, dtype).batch)
                if isinstance(value, Tensor) and value.requires_grad:
                    torch.autograd.grad(value.sum(), _live(model), allow_unused=True)
        except Expired:
            raise
        except Exception as error:
            first = first or (posed, error)
            continue
        posed.differentiates = _fails_without_gradients(posed, as_called(way, few, dtype).batch)
        return posed
    assert first is not None
    raise _explained(*first, few) from first[1]


def _fails_without_gradients(posed: Posed, batch: Batch) -> bool:
    """Whether a loss that works with gradients raises without them."""
    try:
        with unaccelerated_attention(), quiet(), torch.no_grad():
            posed(batch)
    except Expired:
        raise
    except Exception:
        return True
    return False


def _live(model: nn.Module) -> list[Tensor]:
    return [value for value in model.parameters() if value.requires_grad]


def _ways(loss: LossFunction, examples: Examples) -> list[Calling]:
    """Return the ways to call a loss, the likeliest first."""
    whole = Calling("model")
    if not examples.is_pair:
        return [whole]
    x, y = examples.batch
    integers = [index for index, part in enumerate((x, y)) if _has_integers(part)]
    casts = [(), *((index,) for index in integers)] + ([(0, 1)] if len(integers) == 2 else [])
    nested = not isinstance(x, Tensor)
    spreads = [True, False] if nested else [True]
    pairs = [Calling("outputs", spread, cast) for cast in casts for spread in spreads]
    return [whole, *pairs] if _takes_model(loss) else [*pairs, whole]


def _has_integers(part: Batch) -> bool:
    return any(not tensor.is_floating_point() and not tensor.is_complex() for tensor in tensors(part))


def _takes_model(loss: LossFunction) -> bool:
    """Whether the first argument of a loss is called a model, or annotated as one."""
    if isinstance(loss, nn.Module):
        loss = loss.forward
    try:
        first = next(iter(inspect.signature(loss).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    return first is not None and (first.name in _MODEL_NAMES or "Module" in str(first.annotation))


def _explained(posed: Posed, error: Exception, few: Examples) -> SpecError:
    """Return what to tell of a call that failed: whose fault it is, and the cure."""
    said = f"{type(error).__name__}: {first_line(error)}"
    if posed.calling.form == "model":
        if not few.is_pair and isinstance(posed.loss, nn.Module):
            return SpecError(
                f"loss: the data are no pair (x, y), so that it is called as loss(model, batch), which a "
                f"{type(posed.loss).__name__} does not take; give a function of (model, batch)"
            )
        return SpecError(f"loss: called as loss(model, batch), it raised {said}")
    x = few.batch[0]
    try:
        with quiet(), torch.enable_grad():
            outputs = posed.outputs(x)
    except Exception as raised:
        return SpecError(
            f"model: called with the inputs of data, it raised {type(raised).__name__}: {first_line(raised)}"
        )
    if not isinstance(outputs, Tensor):
        kind = type(outputs).__name__
        return SpecError(
            f"loss: the model returns a {kind}, of which it raised {said}; give a function of (model, "
            "batch) that "
            "picks what it needs"
        )
    cure = ""
    y = few.batch[1]
    if isinstance(y, Tensor) and y.is_floating_point() and "Long" in said and bool((y == y.round()).all()):
        cure = "; if y are classes, give y.long()"
    elif isinstance(y, Tensor) and y.shape != outputs.shape and y.squeeze().shape == outputs.squeeze().shape:
        cure = "; reshape y to the shape of the outputs"
    shape = tuple(outputs.shape)
    return SpecError(
        f"loss: called as loss(outputs, y) with outputs of shape {shape}, it raised {said}{cure}"
    )


def rewritten(name: str) -> SpecError:
    """Return what to tell of a weight that a forward pass does not leave as it is."""
    return SpecError(
        f"model: a forward pass rewrites {name}, so that what is sampled is not what the loss sees; compute "
        "with a changed copy of it, or hold it (parameters=)"
    )


def first_line(error: BaseException) -> str:
    """Return the first line of a message."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of the user's code from being told for every trial of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def unfused_attention(device: torch.device) -> Iterator[None]:
    """Compute attention step by step on a GPU, whose fused kernels have no batching rule."""
    if device.type == "cpu":
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def unaccelerated_attention() -> Iterator[None]:
    """Switch the inference-only path of `nn.TransformerEncoderLayer` off, which has no batching rule."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
