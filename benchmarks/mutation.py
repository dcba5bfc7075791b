"""Mutation run: change one operator, constant or branch of the engine at a time; do its tests notice?

``python -m benchmarks.mutation --count 200 --seed 0``. Every mutant is tried in a copy of the package,
against the unit tests that mirror its file, or those of its folder if it has none of its own. Needs
``pip install cosmic-ray`` (the extra ``mutation``).
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cosmic_ray import plugins  # pyright: ignore[reportMissingImports]
from cosmic_ray.ast import get_ast  # pyright: ignore[reportMissingImports]
from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "workflow"
ROOMS = ("core", "store", "study", "worker")

_LEFT_OUT = ("Variable", "BitOr", "Decorator", "ExceptionReplacer", "AddNot", "_Is", "Is_", "IsNot")
"""Operators whose mutants are mostly annotations (``int | None``), or the same program."""

_CPU_SEC, _WALL_SEC = 120, 900.0
"""Several times what the tests of the slowest folder take: a mutant that is not done then hangs."""


class Mutant(NamedTuple):
    """One change: the file, cosmic-ray's operator, which of its places in the file, and the place."""

    path: Path
    operator: str
    occurrence: int
    line: int


def mutants() -> Iterator[Mutant]:
    """Yield every mutant of the rooms."""
    names = [name for name in plugins.operator_names() if not any(one in name for one in _LEFT_OUT)]
    for room in ROOMS:
        for path in sorted((SOURCE / "parsl_optuna" / room).rglob("*.py")):
            tree = get_ast(path.read_text(encoding="utf-8"))
            for name in names:
                yield from (Mutant(path, name, index, line) for index, line in places(tree, name))


def places(tree: object, name: str) -> Iterator[tuple[int, int]]:
    """Yield the number and line of every place of a syntax tree that an operator can change."""
    operator, count, todo = plugins.get_operator(name)(), 0, [tree]
    while todo:
        node = todo.pop(0)
        for start, _ in operator.mutation_positions(node):
            yield count, start[0]
            count += 1
        todo[:0] = getattr(node, "children", [])


def tests_of(path: Path) -> frozenset[Path]:
    """Return the unit tests that mirror a file, or its folder if it has none of its own."""
    relative = path.relative_to(SOURCE / "parsl_optuna")
    mirror = ROOT / "tests" / "unit" / relative.with_name(f"test_{relative.name}")
    return frozenset([mirror] if mirror.exists() else mirror.parent.glob("test_*.py"))


def passes(tests: Collection[Path], copy: Path, *, tell: bool = False) -> bool | None:
    """Whether tests pass with the package in a folder; None if they do not end. Tell: show their output."""
    limit_sec = _CPU_SEC + 10 * len(tests)
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*pytest, *sorted(map(str, tests))],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(copy), str(ROOT)]), "CI": "1"},
            stdout=None if tell else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=_WALL_SEC + 60 * len(tests),
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_CPU, (limit_sec, limit_sec)),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL) else done.returncode == 0


def try_mutant(mutant: Mutant, copy: Path) -> bool | None:
    """Change a file of a copy of the package; return whether its tests pass, as ``passes``."""
    original = mutant.path.read_text(encoding="utf-8")
    changed = mutate_code(original, plugins.get_operator(mutant.operator)(), mutant.occurrence)
    target = copy / mutant.path.relative_to(SOURCE)
    target.write_text(changed or original, encoding="utf-8")
    try:
        return passes(tests_of(mutant.path), copy)
    finally:
        target.write_text(original, encoding="utf-8")


def main() -> None:
    """Try a sample of the mutants; print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = list(mutants())
    chosen = random.Random(options.seed).sample(found, min(options.count, len(found)))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(SOURCE, copy, dirs_exist_ok=True)
        if not passes(frozenset().union(*(tests_of(mutant.path) for mutant in chosen)), copy, tell=True):
            sys.exit("the tests fail without any change: no mutant would say anything")
        survived, hung = 0, 0
        for number, mutant in enumerate(chosen, 1):
            passed = try_mutant(mutant, copy)
            survived, hung = survived + (passed is True), hung + (passed is None)
            if passed is not False:
                place = mutant.path.relative_to(SOURCE)
                word = "survived" if passed else "hung"
                print(f"{word}: {place}:{mutant.line} {mutant.operator} {mutant.occurrence}", flush=True)
            if number % 10 == 0:
                print(f"{number} of {len(chosen)} tried, {survived} survived, {hung} hung", flush=True)
    killed = len(chosen) - survived
    print(f"{len(chosen)} of {len(found)} mutants: {killed} killed ({hung} hung), {survived} survived")


if __name__ == "__main__":
    main()
