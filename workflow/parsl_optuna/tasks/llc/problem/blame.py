"""What to tell of an exception that the user's code raises on the data: which example it is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from parsl_optuna.core.clock import Expired
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.llc.problem.examples import Examples
from parsl_optuna.tasks.llc.problem.posed import Posed, first_line, quiet


@contextmanager
def users_code(posed: Posed, examples: Examples) -> Iterator[None]:
    """Turn what the user's code raises into one line, with the example that it is raised on.

    Args:
        posed: Model and loss, at the weights that they have now.
        examples: The data.

    Raises:
        SpecError: Instead of any other exception but `Expired`.
    """
    try:
        yield
    except (Expired, SpecError):
        raise
    except Exception as error:
        where = _example(posed, examples)
        told = "on some of the data, at weights close to those of the model" if where is None else where
        raise SpecError(
            f"loss: called as {posed.calling.said}, it raised {type(error).__name__}: {first_line(error)} "
            f"({told})"
        ) from error


def failed_again(posed: Posed, error: Exception) -> SpecError:
    """Return what to tell of code that works at the weights of the model alone, or once alone."""
    return SpecError(
        f"loss: called as {posed.calling.said}, it raised {type(error).__name__}: {first_line(error)} (when "
        "called again, at other weights than those of the model)"
    )


def _example(posed: Posed, examples: Examples) -> str | None:
    """Find one example that the loss fails on, by halving; None where it fails on no single one."""
    begin, end = 0, examples.n
    while end - begin > 1:
        middle = (begin + end) // 2
        if _fails(posed, examples, begin, middle):
            end = middle
        elif _fails(posed, examples, middle, end):
            begin = middle
        else:
            return None
    return f"example {begin} of data" if _fails(posed, examples, begin, end) else None


def _fails(posed: Posed, examples: Examples, begin: int, end: int) -> bool:
    try:
        with quiet(), torch.no_grad():
            posed(examples.rows(slice(begin, end)))
    except Expired:
        return False
    except Exception:
        return True
    return False
