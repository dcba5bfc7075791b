"""Global generators of random numbers, seeded per trial: the same numbers whichever worker runs it.

Forks of one process would share theirs otherwise, and what is loaded before a fork differs by worker.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_SEEDERS: Mapping[str, Callable[[ModuleType, int], object]] = {
    "numpy.random": lambda module, seed: module.seed(seed % 2**32),  # it takes 32 bits
    "torch": lambda module, seed: module.manual_seed(seed),  # of all devices
}


class _SeedsOnImport(MetaPathFinder):
    """Seeds libraries that are imported later."""

    seed = 0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that others find, with a loader that seeds the library when it is loaded."""
        if fullname not in _SEEDERS:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                load = partial(self._load, spec.loader.exec_module, _SEEDERS[fullname])
                spec.loader.exec_module = load  # type: ignore[method-assign]
                return spec
        return None

    def _load(
        self,
        load: Callable[[ModuleType], None],
        apply: Callable[[ModuleType, int], object],
        module: ModuleType,
    ) -> None:
        load(module)
        apply(module, self.seed)


_finder = _SeedsOnImport()


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch, of the latter two when they are loaded.

    Args:
        seed: 63 bits.
    """
    random.seed(seed)
    _finder.seed = seed
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for name, apply in _SEEDERS.items():
        if name in sys.modules:
            apply(sys.modules[name], seed)
