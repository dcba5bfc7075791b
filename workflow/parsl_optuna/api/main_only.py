"""Which names of a script have other values where it is run than where a worker imports it. Reads the text.

A worker imports the file under its own name and without arguments: what stands below
``if __name__ == "__main__":``, and the words of the command line, are not there.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator, Mapping

_OF_ARGUMENTS = {"argv", "orig_argv", "parse_args", "parse_known_args", "parse_intermixed_args"}

_Tables = Mapping[str, symtable.SymbolTable]


def differing(text: str, function: str, *, is_main: bool, has_arguments: bool) -> str | None:
    """Say which name that a function uses has another value in a worker, and why; None where there is none.

    Args:
        text: The file.
        function: The function of its top level that workers call.
        is_main: Whether the file is the script that was started.
        has_arguments: Whether the script was started with arguments.
    """
    body = ast.parse(text).body
    tables = {one.get_name(): one for one in symtable.symtable(text, "script", "exec").get_children()}
    top = [one for one in body if not _is_guard(one)]
    used = _reached(tables, [function, *_of_signature(top, function)])
    if is_main:
        below = {name for one in body if _is_guard(one) for name in _stored(one)}
        run = _reached(
            tables, [*used, *(name for one in top if not _is_definition(one) for name in _read(one))]
        )
        below |= {name for one in tables if one not in run for name in _set_globally(tables[one])}
        for name in (one for one in used if one in below):
            return (
                f"uses '{name}', which is set below if __name__ == '__main__', or in a function called there"
            )
    of_arguments = _of_arguments(top) if has_arguments else set()
    for name in (one for one in used if one in of_arguments):
        return f"uses '{name}', which comes from the command line" if name != function else "reads sys.argv"
    return None


def _is_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in _read(node.test)


def _is_definition(node: ast.stmt) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))


def _of_signature(body: Iterable[ast.stmt], function: str) -> Iterator[str]:
    """Yield the names in the defaults and decorators of a function, which its module evaluates."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for part in (*node.args.defaults, *node.args.kw_defaults, *node.decorator_list):
                yield from _read(part) if part is not None else ()


def _reached(tables: _Tables, names: Iterable[str]) -> list[str]:
    """Return global names, and those that the functions and classes among them use."""
    found = dict.fromkeys(names)
    todo = list(found)
    while todo:
        table = tables.get(todo.pop())
        for name in _globals(table) if table is not None else ():
            if name not in found:
                found[name] = None
                todo.append(name)
    return list(found)


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    yield from (symbol.get_name() for symbol in table.get_symbols() if symbol.is_global())
    for child in table.get_children():
        yield from _globals(child)


def _set_globally(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that a function assigns after ``global NAME``."""
    for symbol in table.get_symbols():
        if symbol.is_declared_global() and symbol.is_assigned():
            yield symbol.get_name()


def _of_arguments(statements: Iterable[ast.stmt]) -> set[str]:
    """Return the names whose values follow from the words of the command line."""
    found: set[str] = set()
    for node in statements:
        if _is_definition(node):
            found |= {node.name} if _read(node) & _OF_ARGUMENTS else set()  # type: ignore[attr-defined]
        elif _read(node) & (found | _OF_ARGUMENTS):
            found |= set(_stored(node))
    return found


def _read(node: ast.AST) -> set[str]:
    """Return the names and attributes that a piece of code reads."""
    nodes = list(ast.walk(node))
    names = {one.id for one in nodes if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
    return names | {one.attr for one in nodes if isinstance(one, ast.Attribute)}


def _stored(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id
