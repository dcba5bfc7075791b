"""YAML and plain mappings into typed records; the only place that imports yaml.

Unknown keys are errors with the nearest valid name, and all errors are reported at once, each with its path.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import cattrs
import yaml
from cattrs.errors import ClassValidationError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from parsl_optuna.core.errors import SpecError, nearest
from parsl_optuna.core.mistakes import Several, mistakes

T = TypeVar("T")
_L = TypeVar("_L", bound=yaml.SafeLoader)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: ``1e-3`` is a number; ``no``, ``on`` and dates are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[-1] in ("null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would not read as a string."""


_Dumper.yaml_implicit_resolvers = {
    first: _Loader.yaml_implicit_resolvers.get(first, [])
    + yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])
    for first in {*_Loader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
}
_UNICODE_BREAKS = "\x85\u2028\u2029"


def _repeated_key(loader: yaml.SafeLoader, node: yaml.MappingNode) -> tuple[str, int] | None:
    """Return the first key that is written twice in a mapping, and its line; merged keys do not count."""
    written = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    keys = [loader.construct_object(key, deep=True) for key in written]  # type: ignore[no-untyped-call]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            return str(key), written[index].start_mark.line + 1
    return None


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    repeated = _repeated_key(loader, node)
    if repeated is not None:
        raise SpecError(f"line {repeated[1]}: key '{repeated[0]}' appears twice; keep one")
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor(
    "tag:yaml.org,2002:int",
    lambda _, node: int(cast("yaml.ScalarNode", node).value),  # YAML 1.2: 010 is ten
)


class _Loader11(yaml.SafeLoader):
    """YAML 1.1, as PyYAML reads it; keys that appear twice are collected, the last one counts."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[tuple[str, int]] = []


def _construct_mapping_11(loader: _Loader11, node: yaml.MappingNode) -> dict[Any, Any]:
    repeated = _repeated_key(loader, node)
    if repeated is not None:
        loader.repeated.append(repeated)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader11.add_constructor("tag:yaml.org,2002:map", _construct_mapping_11)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 file whose top level is a mapping.

    Raises:
        SpecError: Missing, unreadable or malformed file, or another top level.
    """
    return _loaded(path, _Loader)[0]


def read_yaml_1_1(path: Path) -> tuple[dict[Any, Any], tuple[str, ...]]:
    """Read a file of a tool that takes YAML 1.1 (``yes`` is true, ``1e-3`` a text), as that tool does.

    Returns:
        The mapping, and a line for people about each key that appears twice: the last one counts.

    Raises:
        SpecError: As for `read_yaml`.
    """
    data, loader = _loaded(path, _Loader11)
    return data, tuple(
        f"line {line}: key '{key}' appears twice, the last one counts" for key, line in loader.repeated
    )


def scalar_1_2(text: str) -> Any:
    """Return what YAML 1.2 makes of a *text* on its own, if that is a number, true, false or null."""
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, SpecError):
        return text
    return value if value is None or isinstance(value, (bool, int, float)) else text


def is_text_in_1_1(text: str) -> bool:
    """Whether YAML 1.1 takes a *text* that stands there without quotes for a text."""
    return yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False)) == "tag:yaml.org,2002:str"  # type: ignore[no-untyped-call]


def _loaded(path: Path, kind: type[_L]) -> tuple[dict[Any, Any], _L]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file; give the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from error
    try:
        loader = kind(text.removeprefix("\ufeff"))
        data = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{path}: line {line}: not valid YAML: {_cured(error.problem)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise SpecError(f"{path}: {error}") from error
        raise SpecError(f"{path}: not valid YAML: {error}") from error
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise SpecError(f"{path}: the top level is a {type(data).__name__}; it must be a mapping")
    return data, loader


def _cured(problem: str | None) -> str:
    """Return what PyYAML found, with a cure where the cause is known."""
    cures = {
        "\\t": "indent with blanks, not tabs",
        "'%'": "quote the text",
        "'>'": "quote the text",
        "but found '='": "quote the text",
        "'@'": "quote the text",
    }
    cure = next((cure for sign, cure in cures.items() if problem and sign in problem), None)
    return f"{problem}; {cure}" if cure else str(problem)


def assign(data: dict[str, Any], text: str) -> None:
    """Carry out ``key.key=value`` on plain *data*; the value is YAML.

    Raises:
        SpecError: No such form, or a key leads through something that is no mapping.
    """
    path, equals, value = text.partition("=")
    *parents, last = path.split(".")
    if not equals or not last or not all(parents):
        raise SpecError(f"--set {text}: must be KEY=VALUE, with dots for keys inside keys")
    try:
        parsed = yaml.load(value, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        raise SpecError(f"--set {text}: the value is not valid YAML") from error
    for name in parents:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise SpecError(f"--set {text}: '{name}' holds no keys")
    data[last] = parsed


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Write a plain mapping as YAML that `read_yaml` gives back unchanged."""
    text = yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    if any(mark in text for mark in _UNICODE_BREAKS):  # unescaped, YAML would fold these into spaces
        text = yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=False)
    return text


def structure(cls: type[T], data: object, where: str) -> T:
    """Turn plain *data* into the dataclass *cls*.

    Args:
        cls: A dataclass whose fields are the allowed keys.
        data: Plain mappings, lists and scalars.
        where: File and key of *data*, for messages.

    Raises:
        SpecError: One line per mistake, each with its path below *where*.
    """
    if not isinstance(data, Mapping):
        raise SpecError(f"{where}: must be a mapping, got {_said(data)}")
    try:
        return _CONVERTER.structure(data, cls)
    except (ClassValidationError, IterableValidationError) as error:
        lines = [f"{where}{path}: {text}" for path, text in mistakes(error)]
        raise SpecError("\n".join(dict.fromkeys(lines))) from error
    except Several as error:
        raise SpecError("\n".join(f"{where}{path}: {text}" for path, text in error.mistakes)) from error
    except (SpecError, KeyError, TypeError, ValueError) as error:
        raise SpecError(f"{where}: {error}") from error


def unstructure(record: Any) -> Any:
    """Turn a record into plain mappings, lists and scalars, with every default spelled out."""
    return _CONVERTER.unstructure(record)


def _said(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"


def _strict_float(value: object, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"must be a number, got {_said(value)}")
    if isinstance(value, int) and value.bit_length() > 1023:
        raise SpecError("is a larger number than a computer holds")
    return float(value)


def _strict_int(value: object, _: type) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise SpecError(f"must be a whole number, got {_said(value)}")
    return int(cast("float", value))


def _strict(kind: type, name: str) -> Any:
    def hook(value: object, _: type) -> Any:
        if not isinstance(value, kind):
            raise SpecError(f"must be {name}, got {_said(value)}")
        return value

    return hook


def strict_converter(*, forbid_extra_keys: bool) -> cattrs.Converter:
    """Return a converter that never turns one type into another: ``"3"`` is no number, ``1`` not true."""
    converter = cattrs.Converter(forbid_extra_keys=forbid_extra_keys, detailed_validation=True)
    converter.register_structure_hook(float, _strict_float)
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(bool, _strict(bool, "true or false"))
    converter.register_structure_hook(str, _strict(str, "a string"))
    converter.register_structure_hook_factory(dataclasses.is_dataclass, _record(converter, forbid_extra_keys))
    converter.register_structure_hook_func(_is_optional, _optional(converter))
    converter.register_structure_hook_func(_is_sequence, _sequence(converter, tuple))
    converter.register_structure_hook_func(_is_list, _sequence(converter, list))
    converter.register_structure_hook_func(_is_dict, _mapping(converter))
    converter.register_structure_hook_func(_is_literal, _literal)
    return converter


def _record(converter: cattrs.Converter, forbid_extra_keys: bool) -> Any:
    """Refuse anything but a mapping before cattrs looks for keys in it."""

    def factory(cls: type) -> Any:
        structure_fields = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=forbid_extra_keys)

        def hook(value: Any, _: type) -> Any:
            if not isinstance(value, Mapping):
                raise SpecError(f"must be a mapping, got {_said(value)}")
            return structure_fields(value, cls)

        return hook

    return factory


def _is_optional(cls: Any) -> bool:
    args = getattr(cls, "__args__", ())
    return len(args) == 2 and type(None) in args and "Union" in type(cls).__name__


def _optional(converter: cattrs.Converter) -> Any:
    def hook(value: object, cls: Any) -> Any:
        (inner,) = [arg for arg in cls.__args__ if arg is not type(None)]
        return None if value is None else converter.structure(value, inner)

    return hook


def _is_sequence(cls: Any) -> bool:
    return getattr(cls, "__origin__", None) is tuple and cls.__args__[1:] == (Ellipsis,)


def _is_list(cls: Any) -> bool:
    return getattr(cls, "__origin__", None) is list


def _is_dict(cls: Any) -> bool:
    return getattr(cls, "__origin__", None) is dict


def _sequence(converter: cattrs.Converter, make: Callable[[list[Any]], Any]) -> Any:
    """Accept only lists, so that a string is never taken for a list of its letters."""

    def hook(value: object, cls: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise SpecError(f"must be a list, got {_said(value)}")
        entries = {f"[{index}]": entry for index, entry in enumerate(value)}
        return make(list(_entries(converter, entries, cls.__args__[0]).values()))

    return hook


def _mapping(converter: cattrs.Converter) -> Any:
    """Accept only mappings whose keys are strings."""

    def hook(value: object, cls: Any) -> Any:
        if not isinstance(value, Mapping):
            raise SpecError(f"must be a mapping, got {_said(value)}")
        others = [key for key in value if not isinstance(key, str)]
        if others:
            raise SpecError(f"the key {_said(others[0])} must be a string; put it in quotes")
        entries = {f".{key}": entry for key, entry in value.items()}
        return dict(zip(value, _entries(converter, entries, cls.__args__[1]).values(), strict=True))

    return hook


def _entries(converter: cattrs.Converter, entries: Mapping[str, object], cls: Any) -> dict[str, Any]:
    """Structure every entry; raise the mistakes of all at once, each with its path."""
    found: dict[str, Any] = {}
    told: list[tuple[str, str]] = []
    for path, entry in entries.items():
        try:
            found[path] = converter.structure(entry, cls)
        except (ClassValidationError, IterableValidationError, SpecError) as error:
            told += mistakes(error, path)
    if told:
        raise Several(told)
    return found


def _is_literal(cls: Any) -> bool:
    return "Literal" in str(getattr(cls, "__origin__", ""))


def _literal(value: object, cls: Any) -> Any:
    for choice in cls.__args__:
        if value == choice and type(value) is type(choice):
            return choice
    raise SpecError(f"unknown value {_said(value)}; {nearest(str(value), map(str, cls.__args__))}")


_CONVERTER = strict_converter(forbid_extra_keys=True)
