"""Problems and hyperparameters, by the names of the original program's flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from parsl_optuna.core.counted import noun
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.core.load import structure, unstructure
from parsl_optuna.core.space import Float, Int, Scalar, Space
from parsl_optuna.tasks import source
from parsl_optuna.tasks.varmix.idx import Pair, read_pair

_TRAIN = ("train-images", "train-labels")
_TEST = ("t10k-images", "t10k-labels")
"""MNIST's test set: held out where its files are in the folder."""

_SPLIT: dict[str, Any] = {"test_share": 0.2, "data_seed": 0}
"""How images are split that come without a test set."""

_DIGITS = 1797
"""Images that come with scikit-learn."""


@dataclass(frozen=True)
class Problem:
    """A set of images with values 0 to 16.

    Attributes:
        data: ``digits``, the 1,797 of 8 x 8 pixels that come with scikit-learn; ``idx``, MNIST's files.
        data_dir: Of the files, ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte`` or ``.gz``. With
            ``t10k-images`` and ``t10k-labels`` beside them, all measures are on those.
        n_images: At most so many, of the training files where there is a test set; null takes all.
        test_share: Share that is held out for all measures where there is no test set; null is 0.2.
        data_seed: Of that split; null is 0.
        device: ``cpu`` or ``cuda``, whose random numbers differ: it counts towards the id. Null is the CPU.
    """

    data: Literal["digits", "idx"] = "digits"
    data_dir: str | None = None
    n_images: int | None = None
    test_share: float | None = None
    data_seed: int | None = None
    device: Literal["cpu", "cuda"] | None = None

    def __post_init__(self) -> None:
        if (self.data == "idx") != (self.data_dir is not None):
            raise SpecError("data_dir goes with data idx, and idx with data_dir")
        if self.test_share is not None and not 0 < self.test_share < 1:
            raise SpecError(f"test_share {self.test_share} must be between 0 and 1")
        if self.n_images is not None and self.n_images < 1:
            raise SpecError(f"n_images {self.n_images} must be at least 1; leave it out for all")


@dataclass(frozen=True)
class Params:
    """Hyperparameters.

    Attributes:
        n_latent: Binary units.
        n_clusters: Clusters.
        n_steps: Of Adam.
        learning_rate: Of Adam, constant after its warm-up.
        rho_lr: The conjugation parameters learn so many times as fast.
        kl_warmup_steps: Steps in which the weight of the KL divergence rises to one.
        conj_warmup_steps: Steps in which that of the conjugation penalty does; null is the same ramp.
        lr_warmup_steps: Steps in which the learning rate rises.
        conj_weight: Of the conjugation penalty.
        entropy_weight: Of the entropy of the prior over clusters.
        posterior_entropy_weight: Of the entropy of the mean posterior over clusters.
        mode: ``gradient`` learns rho; ``analytical`` solves for it by least squares at every step.
        interaction: ``full``: clusters have weights of their own; ``hierarchical``: they share them.
        batch_size: Images per step.
        samples: Of the posterior, per image.
        prior_samples: Of the prior, per step, for the penalty.
        seed: Of everything.
    """

    n_latent: int = 32
    n_clusters: int = 20
    n_steps: int = 3000
    learning_rate: float = 3e-3
    rho_lr: float = 1.0
    kl_warmup_steps: int = 1000
    conj_warmup_steps: int | None = None
    lr_warmup_steps: int = 100
    conj_weight: float = 0.1
    entropy_weight: float = 1.0
    posterior_entropy_weight: float = 2.0
    mode: Literal["gradient", "analytical"] = "gradient"
    interaction: Literal["full", "hierarchical"] = "full"
    batch_size: int = 128
    samples: int = 4
    prior_samples: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_latent", "n_steps", "learning_rate", "rho_lr", "batch_size", "prior_samples"):
            if not getattr(self, name) > 0:
                raise SpecError(f"{name} {getattr(self, name)} must be above 0")
        for name in ("kl_warmup_steps", "lr_warmup_steps", "conj_weight", "entropy_weight",
                     "posterior_entropy_weight"):  # fmt: skip
            if getattr(self, name) < 0:
                raise SpecError(f"{name} {getattr(self, name)} must be at least 0")
        if self.n_clusters < 2:
            raise SpecError(f"n_clusters {self.n_clusters} must be at least 2")
        if self.samples < 2:
            raise SpecError(f"samples {self.samples} must be at least 2: each one's baseline is the others")


def resolve(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check a problem; files are known by their checksums."""
    problem = structure(Problem, raw, where)
    data = asdict(problem)
    if problem.device is None:
        del data["device"]  # problems of before there was a choice keep their ids
    if problem.data_dir is not None:
        data["files"] = _files(problem.data_dir, f"{where}.data_dir")
        count = _count(data["files"], f"{where}.data_dir")
        if _TEST[0] in data["files"]:
            return _without_split(data, where)
    else:
        count = _DIGITS
    for name, default in _SPLIT.items():
        data[name] = default if data[name] is None else data[name]
    _check_split(data["test_share"], min(count, problem.n_images or count), where)
    return data


def _without_split(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a problem whose test set has files of its own."""
    for name in _SPLIT:
        if data[name] is not None:
            raise SpecError(
                f"{where}.{name}: '{data['data_dir']}' has a test set ({_TEST[0]}), which is held "
                f"out as it is; leave {name} out"
            )
    return {name: value for name, value in data.items() if name not in _SPLIT}


def _count(files: Mapping[str, Any], where: str) -> int:
    """Return how many images there are to train on; files are read here, before anything runs."""
    try:
        train = _read(files, _TRAIN)
        if _TEST[0] in files:
            _check_test_set(train, _read(files, _TEST))
    except TaskError as error:
        raise SpecError(f"{where}: {error}") from error
    return len(train.images)


def _read(files: Mapping[str, Any], names: tuple[str, str]) -> Pair:
    return read_pair(*(Path.cwd() / files[name]["path"] for name in names))


def _check_test_set(train: Pair, test: Pair) -> None:
    size, other = (" x ".join(map(str, one.images.shape[1:])) for one in (train, test))
    if size != other:
        raise TaskError(f"{_TEST[0]} has images of {other} pixels, and {_TRAIN[0]} of {size}")
    if np.array_equal(train.images, test.images):
        raise TaskError(f"{_TEST[0]} holds the images of {_TRAIN[0]}; nothing would be held out")


def _check_split(test_share: float, n_images: int, where: str) -> None:
    n_train = round((1 - test_share) * n_images)
    if n_train in (0, n_images):
        part, images = "test" if n_train else "train", noun(n_images, "image")
        raise SpecError(f"{where}.test_share: {test_share} of {n_images} {images} leaves none to {part} on")


def _files(folder: str, where: str) -> dict[str, dict[str, str]]:
    """Return the files of a folder; a test set is whole or not there."""
    files = {name: _file(folder, name) for name in (*_TRAIN, *_TEST)}
    needed = _TRAIN if files[_TEST[0]] is None and files[_TEST[1]] is None else (*_TRAIN, *_TEST)
    for name in needed:
        if files[name] is None:
            half = f"; the test set needs {' and '.join(_TEST)}, or neither" if name in _TEST else ""
            raise SpecError(f"{where}: no {name}-{_kind(name)}-ubyte in '{folder}', plain or .gz{half}")
    return {name: found for name, found in files.items() if found is not None}


def _kind(name: str) -> str:
    return "idx3" if "images" in name else "idx1"


def _file(folder: str, name: str) -> dict[str, str] | None:
    spellings = [f"{folder}/{name}{dot}{_kind(name)}-ubyte{zipped}" for dot in "-." for zipped in ("", ".gz")]
    for spelling in spellings:
        path = source.find(spelling)
        if path is not None:
            return {"path": source.relative(path), "checksum": source.checksum(path)}
    return None


def complete(
    problem: Mapping[str, Any], method: str, params: Mapping[str, Any], where: str
) -> dict[str, Scalar]:
    """Fill in defaults."""
    del problem, method
    return unstructure(structure(Params, dict(params), where))


def irrelevant(method: str, params: Mapping[str, Any]) -> frozenset[str]:
    """Return what belongs to a penalty of weight zero, and the rate of a rho that is not learned."""
    del method
    unpenalised = params.get("conj_weight", Params.conj_weight) == 0
    solved = params.get("mode", Params.mode) == "analytical"
    return frozenset({"conj_warmup_steps", "prior_samples"} if unpenalised else ()) | frozenset(
        {"rho_lr"} if solved else ()
    )


def space(problem: Mapping[str, Any], method: str) -> Space:
    """Return the default search space."""
    del problem, method
    return Space(
        {
            "n_latent": Int(8, 64, 8),
            "n_clusters": Int(10, 40, 5),
            "learning_rate": Float(1e-3, 1e-2, log=True),
            "rho_lr": Float(1.0, 60.0, log=True),
            "kl_warmup_steps": Int(50, 1500, 50),
            "conj_weight": Float(0.0, 1.0),
        }
    )
