"""The block ``early_terminate`` of a sweep file. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.load import structure
from parsl_optuna.study.search.hyperband import HyperbandSettings

_KEYS = ("min_iter", "max_iter", "s", "eta", "strict")


def read_bands(raw: Any, where: str, notes: list[str], *, has_metric: bool) -> HyperbandSettings | None:
    """Return when runs are compared, or None where W&B would stop none; *notes* then say why.

    W&B takes ``max_iter`` before ``min_iter``, needs ``s`` with the former and ignores it with the latter.

    Raises:
        SpecError: A value that no bracket can be made of.
    """
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise SpecError(f"{where}: must be a mapping such as {{type: hyperband, min_iter: 3}}")
    keys = dict(raw)
    kind = keys.pop("type", None)
    unknown = sorted(str(key) for key in keys if key not in _KEYS)
    if unknown:
        notes.append(f"early_terminate: no effect: {', '.join(unknown)}")
    useless = _why_useless(kind, keys, has_metric=has_metric)
    if useless is not None:
        notes.append(f"early_terminate: no run will be stopped early: {useless}")
        return None
    settings = {name: keys[name] for name in _KEYS if keys.get(name) is not None}
    if "max_iter" in settings and "s" in settings:
        if settings.pop("min_iter", None) is not None:
            notes.append("early_terminate: min_iter has no effect beside max_iter and s")
    elif "min_iter" in settings:
        for name in ("s", "max_iter"):
            if settings.pop(name, None) is not None:
                notes.append(f"early_terminate: {name} has no effect beside min_iter")
    bands = structure(HyperbandSettings, settings, where)
    if bands.max_iter is not None and not bands.brackets(bands.max_iter):
        notes.append("early_terminate: no run will be stopped early: max_iter / eta is below 1")
        return None
    return bands


def _why_useless(kind: Any, keys: Mapping[str, Any], *, has_metric: bool) -> str | None:
    if kind != "hyperband":
        return f"type must be hyperband, not {kind}"
    if not has_metric:
        return "runs are compared by a metric, and the file names none"
    if keys.get("min_iter") is not None or (keys.get("max_iter") is not None and keys.get("s") is not None):
        return None
    if keys.get("max_iter") is not None:
        return "max_iter goes with s, the number of brackets (add s: 2), or give min_iter alone"
    return "it needs min_iter, or max_iter with s"
