"""A user's own Python function as a task: its arguments are the hyperparameters, what it returns the metrics.

The file is part of the problem's identity by its checksum: an edited function gives new trials. It is read,
not imported, until a worker runs it, so that whatever it imports costs the driver nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from parsl_optuna.core.errors import SpecError, TaskError, nearest
from parsl_optuna.core.load import structure
from parsl_optuna.core.space import Scalar, Space
from parsl_optuna.store.files import data_named, mentioned, provide
from parsl_optuna.tasks import source
from parsl_optuna.tasks.base import Metrics, Task, Work
from parsl_optuna.tasks.user_module import imported_by, load

_LENT = ("report", "checkpoint", "seed", "budget_sec")
"""Arguments of these names are handed over by the engine, unless the search space has them."""


@dataclass(frozen=True)
class Written:
    """A problem as written.

    Attributes:
        function: ``path/to/file.py:name``.
        args: Constant arguments, any JSON values.
        files: Files that belong to the identity; each is linked into the working folder of a trial.
        code: ``strict`` has the modules that the file imports, as far as they lie beside it, belong to the
            identity too; with ``warn`` a change of theirs is told when the command runs again.
    """

    function: str
    args: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    code: Literal["warn", "strict"] = "warn"


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read the function's signature and the checksum of its file."""
    written = structure(Written, raw, where)
    name, _, function = written.function.rpartition(":")
    if not name or not function:
        raise SpecError(f"{where}.function: '{written.function}' must be FILE.py:NAME")
    path, digest = source.hashed(name, f"{where}.function")
    arguments, is_open = _signature(path, function, f"{where}.function")
    unknown = [key for key in written.args if key not in arguments and not is_open]
    if unknown:
        raise SpecError(f"{where}.args.{unknown[0]}: no such argument; {nearest(unknown[0], arguments)}")
    files = {name: source.hashed(name, f"{where}.files")[1] for name in written.files}
    if written.code == "strict":
        files |= {source.relative(one): source.checksum(one) for one in imported_by(path)}
    resolved = {
        "function": f"{source.relative(path)}:{function}",
        "checksum": digest,
        "arguments": arguments,
        "open": is_open,
        "args": written.args,
    }
    return resolved | ({"files": files} if files else {})


def complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Fill in the defaults of the signature; arguments without one must come from the search space."""
    del method
    if not problem:
        return dict(params)
    arguments = {
        name: default
        for name, default in problem["arguments"].items()
        if name not in problem["args"] and (name not in _LENT or name in params)
    }
    for name in params:
        if name in problem["args"]:
            raise SpecError(f"{where}.{name}: is a constant in args already; keep one")
        if name not in arguments and not problem["open"]:
            raise SpecError(f"{where}.{name}: no such argument; {nearest(name, arguments)}")
    filled = {name: default["default"] for name, default in arguments.items() if "default" in default}
    return filled | dict(params)


def space(problem: Mapping[str, Any], method: str) -> Space:
    """Return nothing: what varies is for the user to say."""
    del problem, method
    return Space()


def required(problem: Mapping[str, Any], method: str) -> tuple[str, ...]:
    """Return the arguments that have no default, no constant, and are not handed over."""
    del method
    given = {*problem["args"], *_LENT}
    return tuple(name for name, about in problem["arguments"].items() if not about and name not in given)


def run(work: Work) -> Metrics:
    """Call the function; a number that it returns is the metric ``loss``."""
    problem = work.problem
    missing = [name for name in required(problem, work.method) if name not in work.params]
    if missing:
        raise TaskError(f"argument '{missing[0]}' has no value; put it into the search space")
    name, _, function = problem["function"].rpartition(":")
    path, files = source.unchanged(name, problem["checksum"], work.launch), problem.get("files", {})
    for other, digest in files.items():
        source.unchanged(other, digest, work.launch)
    if work.files is not None:
        inputs = source.named(files, [*work.params.values(), *problem["args"].values()])
        sources = [path, *(work.launch / other for other in files)]
        provide([*inputs, *mentioned(sources, work.launch)], work.launch, work.files)
    call = getattr(load(path, problem["checksum"], work.launch), function)
    lent = {
        "report": work.report,
        "checkpoint": work.checkpoint,
        "seed": work.seed,
        "budget_sec": work.deadline.left_sec,
    }
    lent = {
        key: value for key, value in lent.items() if key in problem["arguments"] and key not in work.params
    }
    return as_metrics(call(**{**lent, **problem["args"], **work.params}))


def as_metrics(value: Any, name: str = "loss", verb: tuple[str, str] = ("returned", "return")) -> Metrics:
    """Return what a function returned as metrics; a number is the metric *name*.

    Args:
        value: What it returned, or reported.
        name: Name of the metric that a single number is.
        verb: What the function did with it, and is to do, for messages.

    Raises:
        TaskError: It is something else.
    """
    did, do = verb
    try:
        plain = _plain(value)
    except RecursionError as error:
        raise TaskError(f"what the function {did} is nested too deeply to be stored") from error
    if isinstance(plain, dict):
        return plain
    if isinstance(plain, (int, float)):
        return {name: plain}
    raise TaskError(f"the function {did} a {type(value).__name__}; {do} a number, or a dict of metrics")


def _plain(value: Any) -> Any:
    """Return numbers and arrays of numpy and torch as Python's, wherever they stand."""
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, Mapping):
        named: dict[str, Any] = {str(key): key for key in value}
        if twice := [key for key in value if named[str(key)] is not key]:
            one, other = twice[0], named[str(twice[0])]
            raise TaskError(f"the keys {one!r} and {other!r} are one name where they are stored; rename one")
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return float(value) if isinstance(value, Real) else value


def _signature(path: Path, function: str, where: str) -> tuple[dict[str, dict[str, Scalar]], bool]:
    """Return the arguments with their defaults, and whether any other name is taken too."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"{where}: {path} is no Python: {error}") from error
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if function not in functions and (what := _what_is(function, tree)) is not None:
        raise SpecError(
            f"{where}: '{function}' in {path} is {what}; give a function written with def at the top level"
        )
    if function not in functions:
        raise SpecError(f"{where}: {path} defines no function '{function}'; {nearest(function, functions)}")
    given = functions[function].args
    if given.posonlyargs or given.vararg:
        raise SpecError(f"{where}: '{function}' takes positional arguments; name them all")
    plain = [argument.arg for argument in given.args]
    defaults: list[tuple[str, ast.expr | None]] = list(
        zip(plain, [None] * (len(plain) - len(given.defaults)) + given.defaults, strict=True)
    )
    defaults += zip([argument.arg for argument in given.kwonlyargs], given.kw_defaults, strict=True)
    return {name: _default(name, value) for name, value in defaults}, given.kwarg is not None


def _what_is(name: str, tree: ast.Module) -> str | None:
    """Say what a name stands for in a module, if it is there and no plain function."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name:
            kinds = {ast.AsyncFunctionDef: "an async function", ast.ClassDef: "a class"}
            return kinds.get(type(node), "a function inside of something else")
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return "a variable"
        if isinstance(node, ast.alias) and name == (node.asname or node.name):
            return "imported from elsewhere"
    return None


def _default(name: str, value: ast.expr | None) -> dict[str, Scalar]:
    if value is None or name in _LENT:
        return {}
    try:
        default = ast.literal_eval(value)
    except ValueError:
        return {"computed": True}  # the function knows it
    return {"default": default} if isinstance(default, (bool, int, float, str)) else {"computed": True}


TASK = Task(
    name="function",
    version=1,
    resolve=resolve,
    methods=("function",),
    complete=complete,
    space=space,
    run=run,
    open_params=True,
    required=required,
    code_folder=lambda problem: str(Path(problem["function"].rpartition(":")[0]).parent),
    code_files=lambda problem, launch: data_named([launch / problem["function"].rpartition(":")[0]], launch),
)
