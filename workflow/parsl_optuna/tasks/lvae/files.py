"""Sets of designs from files: npy, npz, parquet, folders of images, and the splits of a hub's data set.

A set is known by the digest of its bytes. What is read is an array per split; what cannot be a set of designs
is refused with the file's name, and nothing is scaled, clipped or left out on the way.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsl_optuna.core.counted import noun
from parsl_optuna.core.errors import SpecError, TaskError, nearest
from parsl_optuna.tasks import source
from parsl_optuna.tasks.lvae.images import IMAGES, read_images

Array = NDArray[np.float64]
Splits = dict[str, Array]
"""``train`` and ``val``, or ``all``, each ``(n, rows, columns)`` or ``(n, length)``."""

_SPLIT = re.compile(r"(train|validation|valid|val|test)(?=[-._]|$)", re.IGNORECASE)
_NAMES = {"train": "train", "validation": "val", "valid": "val", "val": "val", "test": "test"}
_COLUMNS = ("optimal_design", "designs", "design")
"""Names of an array or column among others."""

_CURVE = "coords"
"""Field of a published aerofoil that holds its points."""

_LEAST = 10
"""Fewer designs leave too few to validate on."""

_SMOOTH, _ROUGH = 0.2, 0.8
"""Neighbours that differ by so little, or by so much, of the difference of any two: pixels of a design are
alike, designs in no order are not.
"""

_SHARED = 0.5
"""A design or two in both splits hardly move the error; so large a share says that one is a copy."""

_LARGEST = float(np.finfo(np.float32).max) ** 0.5
_IGNORED = ("Thumbs.db", "desktop.ini")
_ABOUT = ("", ".md", ".txt", ".rst", ".json", ".yaml", ".yml", ".toml", ".cff", ".bib", ".py", ".ipynb")
"""Endings of what stands beside the tables of a hub's data set and tells of them."""


def identify(name: str, where: str) -> dict[str, str]:
    """Return path and digest of a file, or of all files below a folder.

    Raises:
        SpecError: There is none.
    """
    folder = Path.cwd() / name
    if not folder.is_dir():
        path, checksum = source.hashed(name, where)
        return {"path": source.relative(path), "checksum": checksum}
    if not _files(folder):
        raise SpecError(f"{where}: folder '{name}' has no files")
    return {"path": source.relative(folder), "checksum": _digest(folder)}


def unchanged(file: Mapping[str, str]) -> Path:
    """Return the path of what `identify` saw, if it still is that.

    Raises:
        TaskError: It is gone, or was edited.
    """
    path = Path.cwd() / file["path"]
    if not path.is_dir():
        return source.unchanged(file["path"], file["checksum"])
    if _digest(path) != file["checksum"]:
        raise TaskError(f"{file['path']}: was edited since this run was planned; run the command again")
    return path


def read(path: Path) -> Splits:
    """Return the designs of a file or folder.

    Raises:
        TaskError: They are none; the message has the file's name, and what would be right.
    """
    arrays = {name: _shaped(array, path, name) for name, array in _arrays(path).items()}
    kept = {name: array for name, array in arrays.items() if name != "test"}
    if set(kept) == {"train"}:
        kept = {"all": kept["train"]}  # validated on a fifth of it, as a set without splits is
    elif not kept or set(kept) == {"val"}:
        raise TaskError(f"{path}: has a split '{next(iter(arrays))}' but none to train on, called train")
    shapes = {name: array.shape[1:] for name, array in kept.items()}
    if len(set(shapes.values())) > 1:
        raise TaskError(
            f"{path}: designs of split 'train' are {_size(kept['train'])}, of 'val' {_size(kept['val'])}"
        )
    _check_numbers(kept, path)
    if "val" in kept:
        _check_validation(kept["train"], kept["val"], path)
    return kept


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return what a path holds, by split, as it is."""
    if path.is_dir():
        return _folder(path)
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return _numpy(path)
    if suffix in (".parquet", ".pq"):
        return {"all": _parquet(path)}
    known = ".npy, .npz, .parquet, or a folder of images"
    raise TaskError(f"{path}: a file ending in '{path.suffix}' is not read; give {known}")


def _folder(path: Path) -> dict[str, NDArray[Any]]:
    files = _files(path)
    kinds = {_kind(file) for file in files}
    if kinds == {"image"}:
        parts = _by_split(files, path)
        return {name: read_images(part) for name, part in parts.items()}
    tables = [file for file in files if _kind(file) in ("parquet", "npy")]
    if not tables:
        odd = next(file for file in files if _kind(file) != "image")
        raise TaskError(
            f"{odd}: is no image ({', '.join(IMAGES)}), and no .npy or .parquet either; take it away"
        )
    left = next((file for file in files if file not in tables and not _tells_of_others(file)), None)
    if left is not None:
        raise TaskError(
            f"{left}: would be left out, as {tables[0].name} and its like are read here; take it away, or "
            "those, or give the file of designs itself"
        )
    found: dict[str, NDArray[Any]] = {}
    for name, part in _by_split(tables, path).items():
        arrays = [next(iter(_arrays(file).values())) for file in part]
        sizes = {array.shape[1:] for array in arrays}
        if len(sizes) > 1:
            raise TaskError(f"{path}: its files hold designs of different sizes: {sorted(sizes)}")
        found[name] = np.concatenate(arrays)
    return found


def _files(folder: Path) -> list[Path]:
    """List the files below a folder, hidden ones left out, sorted by name."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in _IGNORED)
    return sorted(
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        return "image"
    return {".parquet": "parquet", ".pq": "parquet", ".npy": "npy"}.get(suffix, "other")


def _tells_of_others(path: Path) -> bool:
    """Return whether a file only describes others; one called like a split is taken for a part of the set."""
    return path.suffix.lower() in _ABOUT and not _SPLIT.match(path.name)


def _by_split(files: Iterable[Path], folder: Path) -> dict[str, list[Path]]:
    """Sort files by the split that their name, or that of a folder on the way, begins with."""
    found: dict[str, list[Path]] = {}
    for path in files:
        parts = path.relative_to(folder).parts
        matches = [match for part in parts if (match := _SPLIT.match(part))]
        found.setdefault(_NAMES[matches[-1][1].lower()] if matches else "all", []).append(path)
    empty = [part for part in folder.iterdir() if part.is_dir() and not _files(part)]
    lost = next((part for part in empty if _SPLIT.match(part.name)), None)
    if lost is not None:
        raise TaskError(f"{lost}: is a split without files; fill it, or take it away")
    if "all" in found and len(found) > 1:
        raise TaskError(
            f"{found['all'][0]}: belongs to no split, and others of its folder do; name it train or val"
        )
    return found


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in _files(folder):
        whole.update(f"{source.checksum(path)} {path.relative_to(folder).as_posix()}\n".encode())
    return whole.hexdigest()[:16]


def _numpy(path: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"all": loaded}
        with loaded:
            members = {f"{name}.npy" for name in loaded.files} & set(loaded.zip.namelist())
            names = [name for name in loaded.files if f"{name}.npy" in members]
            return {split: loaded[name] for split, name in _chosen(names, path).items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        unreadable = "it is no array of numbers as numpy.save writes it, but Python objects or another format"
        raise TaskError(
            f"{path}: no designs in it: {unreadable if 'pickle' in str(error) else error}"
        ) from error


def _chosen(names: Sequence[str], path: Path) -> dict[str, str]:
    """Return the name of the array of each split, or of the one that holds designs."""
    splits: dict[str, str] = {}
    for name in names:
        split = _NAMES.get(name.lower())
        if split in splits:
            raise TaskError(f"{path}: {splits[split]} and {name} are both the split '{split}'; keep one")
        if split is not None:
            splits[split] = name
    if splits:
        return splits
    alone = [name for name in _COLUMNS if name in names] or (list(names) if len(names) == 1 else [])
    if alone:
        return {"all": alone[0]}
    raise TaskError(
        f"{path}: which of {', '.join(names) or 'no arrays'} are the designs? Call that one designs"
    )


def _parquet(path: Path) -> NDArray[Any]:
    """Return the column of designs, lists of lists of numbers, without a detour over Python's lists."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        schema = pq.read_schema(path)
        nested = [field.name for field in schema if pa.types.is_nested(field.type)]
        known = [name for name in _COLUMNS if name in schema.names]
        if not known and len(nested) != 1:
            hint = nearest("optimal_design", schema.names)
            raise TaskError(f"{path}: no designs in it: no column 'optimal_design'; {hint}")
        name = (known or nested)[0]
        return _unnested(pq.read_table(path, columns=[name])[name].combine_chunks(), path, name)
    except (OSError, pa.ArrowException) as error:
        raise TaskError(f"{path}: no designs in it: {error}") from error


def _unnested(column: Any, path: Path, name: str) -> NDArray[Any]:
    """Return a nested column as an array; every list of a level has to have the same length."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    pc: Any = compute  # its functions are made when it is imported: no checker knows them
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    shape = [len(column)]
    while True:
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if column.null_count:
            raise TaskError(f"{path}: column '{name}' has {column.null_count} empty entries")
        if pa.types.is_struct(column.type):
            if _CURVE not in [field.name for field in column.type]:
                raise TaskError(
                    f"{path}: column '{name}' is a mapping without a field '{_CURVE}'; give lists of "
                    "numbers, or pictures as a folder of files"
                )
            column = column.field(_CURVE)
        elif any(is_one(column.type) for is_one in lists):
            lengths = pc.unique(pc.list_value_length(column)).to_pylist()
            if len(lengths) > 1:
                raise TaskError(f"{path}: designs of column '{name}' differ in size: {sorted(lengths)[:4]}")
            shape.append(lengths[0] if lengths else 0)
            column = pc.list_flatten(column)
        else:
            return column.to_numpy(zero_copy_only=False).reshape(shape)


def _shaped(array: NDArray[Any], path: Path, split: str) -> Array:
    """Return designs as ``(n, rows, columns)`` or ``(n, length)``."""
    part = "" if split == "all" else f" of split '{split}'"
    if array.dtype.kind not in "fiub":
        raise TaskError(f"{path}: designs{part} are {array.dtype}, not real numbers")
    shape, channels = array.shape, ""
    if array.ndim == 4 and 1 in (shape[1], shape[3]):
        array = array[:, 0] if shape[1] == 1 else array[..., 0]
    elif array.ndim == 4 and (shape[1] in (3, 4) or shape[3] in (3, 4)):
        channels = "; colours are not read, average them to one channel"
    if array.ndim not in (2, 3) or 0 in array.shape[1:]:
        raise TaskError(
            f"{path}: an array {_text(shape)} holds no designs{part}: (n, rows, columns) is of images, "
            f"(n, length) of vectors{channels}"
        )
    if array.ndim == 3 and 2 in array.shape[1:]:  # points of a curve
        array = array.reshape(len(array), -1)
    least = _LEAST if split in ("all", "train") else 2
    if len(array) < least:
        found = f"{len(array)} {noun(len(array), 'design')}{part} ({_text(shape)})"
        raise TaskError(f"{path}: has {found}; {least} are needed")
    return array.astype(np.float64)


def _check_numbers(splits: Splits, path: Path) -> None:
    for name, designs in splits.items():
        finite = np.isfinite(designs).reshape(len(designs), -1).all(axis=1)
        if not finite.all():
            part = "" if name == "all" else f" of split '{name}'"
            raise TaskError(
                f"{path}: design {int(np.argmin(finite))}{part} holds a number that is not finite"
            )
    first = next(iter(splits.values()))
    largest = max(float(abs(designs).max()) for designs in splits.values())
    if largest > _LARGEST:
        raise TaskError(f"{path}: holds {largest:.4g}, whose square single precision cannot hold; scale them")
    # They are learnt in single precision, in which the mean of equal numbers may differ from them.
    single = first.astype(np.float32)
    if float(np.ptp(single, axis=0).max()) == 0.0 or float(single.var(axis=0).max()) == 0.0:
        raise TaskError(f"{path}: all designs are equal{_in_single_precision(first)}")
    along, across = _roughness(first, 0), _roughness(first, first.ndim - 1)
    if along < _SMOOTH and across > _ROUGH:
        raise TaskError(
            f"{path}: {_text(first.shape)} looks as if the last axis counted the designs; it has to be the "
            "first: numpy.moveaxis(designs, -1, 0)"
        )


def _check_validation(train: Array, val: Array, path: Path) -> None:
    known = {hash(design.tobytes()) for design in train}
    shared = sum(hash(design.tobytes()) in known for design in val)
    if shared > _SHARED * len(val):
        raise TaskError(
            f"{path}: {shared} of {len(val)} designs of split 'val' are in 'train' too: what is learnt by "
            "heart would count as known; take them out of one of the two"
        )


def _in_single_precision(designs: Array) -> str:
    same = float(np.ptp(designs, axis=0).max()) == 0.0
    return "" if same else " in single precision; subtract their mean, and scale them"


def _roughness(designs: Array, axis: int) -> float:
    """Return the mean squared difference of neighbours along an axis, over that of any two."""
    centred = designs - designs.mean(axis=axis, keepdims=True)
    spread = 2.0 * float(np.square(centred).mean())
    if designs.shape[axis] < _LEAST or spread == 0.0:
        return _SMOOTH
    return float(np.square(np.diff(designs, axis=axis)).mean()) / spread


def _size(designs: Array) -> str:
    return _text(designs.shape[1:])


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
