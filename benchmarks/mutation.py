"""Mutation run: change one operator, constant or branch of the engine at a time; do its tests notice?

``python -m benchmarks.mutation --count 200 --seed 0``. Every mutant is tried in a copy of the package,
against the unit tests that mirror its file. Needs ``pip install cosmic-ray`` (the extra ``mutation``).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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

_LONGEST_SEC = 300.0


class Mutant(NamedTuple):
    """One change: the file, cosmic-ray's operator, which of its places in the file, and the place."""

    path: Path
    operator: str
    occurrence: int
    line: int


def mutants() -> Iterator[Mutant]:
    """Yield every mutant of a file that has a test of its own."""
    names = [name for name in plugins.operator_names() if not any(one in name for one in _LEFT_OUT)]
    for room in ROOMS:
        for path in sorted((SOURCE / "parsl_optuna" / room).rglob("*.py")):
            if test_of(path).exists():
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


def test_of(path: Path) -> Path:
    """Return the unit tests that mirror a file."""
    relative = path.relative_to(SOURCE / "parsl_optuna")
    return ROOT / "tests" / "unit" / relative.with_name(f"test_{relative.name}")


def survives(mutant: Mutant, copy: Path) -> bool:
    """Whether the tests of a mutant's file pass with it."""
    original = mutant.path.read_text(encoding="utf-8")
    changed = mutate_code(original, plugins.get_operator(mutant.operator)(), mutant.occurrence)
    target = copy / mutant.path.relative_to(SOURCE)
    target.write_text(changed or original, encoding="utf-8")
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*pytest, str(test_of(mutant.path))],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(copy), str(ROOT)]), "CI": "1"},
            capture_output=True,
            timeout=_LONGEST_SEC,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        target.write_text(original, encoding="utf-8")
    return done.returncode == 0


def main() -> None:
    """Try a sample of the mutants; print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = list(mutants())
    chosen = random.Random(options.seed).sample(found, min(options.count, len(found)))
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(SOURCE, copy, dirs_exist_ok=True)
        for number, mutant in enumerate(chosen, 1):
            if survives(mutant, copy):
                survivors += 1
                place = mutant.path.relative_to(SOURCE)
                print(f"survived: {place}:{mutant.line} {mutant.operator}", flush=True)
            if number % 10 == 0:
                print(f"{number} of {len(chosen)} tried, {survivors} survived", flush=True)
    print(f"{len(chosen)} of {len(found)} mutants: {len(chosen) - survivors} killed, {survivors} survived")


if __name__ == "__main__":
    main()
