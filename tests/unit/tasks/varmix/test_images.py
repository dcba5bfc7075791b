import gzip
import struct

import numpy as np
import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.tasks.base import prepare_task
from parsl_optuna.tasks.varmix import TASK
from parsl_optuna.tasks.varmix.images import split


def idx(values):
    values = np.asarray(values, dtype=np.uint8)
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def made(folder, **raw):
    problem = TASK.resolve(raw, "p $")
    folder.mkdir()
    prepare_task(TASK, problem, folder)
    return split(problem, folder)


def test_digits_are_counts_of_sixteen(tmp_path):
    images = made(tmp_path / "p")

    assert images.train.shape == (1438, 64)
    assert images.test.shape == (359, 64)
    assert (float(images.train.min()), float(images.train.max())) == (0.0, 16.0)
    assert set(images.test_labels.tolist()) == set(range(10))


@pytest.mark.parametrize("spelling", ["{}-idx{}-ubyte", "{}.idx{}-ubyte", "{}-idx{}-ubyte.gz"])
def test_mnists_files_are_read_plain_and_zipped(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 5, 4))
    for name, dims, values in (("train-images", 3, pixels), ("train-labels", 1, np.arange(20) % 10)):
        content = idx(values)
        path = tmp_path / spelling.format(name, dims)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    images = made(tmp_path / "p", data="idx", data_dir=".", test_share=0.5)

    assert images.train.shape == (10, 20)
    both = np.sort(np.concatenate([images.train.numpy(), images.test.numpy()]).ravel())
    assert np.array_equal(both, np.sort(np.round(pixels * 16 / 255).ravel()))


def pair(folder, part, n, seed, size=(5, 4)):
    """Write a pair of MNIST's files; return its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (n, *size))
    (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    return pixels


def test_a_test_set_in_the_folder_is_held_out_whole_and_n_images_counts_training_images(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    train, test = pair(tmp_path, "train", 30, 1), pair(tmp_path, "t10k", 15, 2)

    images = made(tmp_path / "p", data="idx", data_dir=".")
    fewer = made(tmp_path / "q", data="idx", data_dir=".", n_images=12)

    counts = np.round(train.reshape(30, -1) * 16 / 255)
    held_out = np.round(test.reshape(15, -1) * 16 / 255)
    assert np.array_equal(images.train.numpy(), counts)
    assert np.array_equal(images.test.numpy(), held_out)
    assert images.test_labels.tolist() == [*range(10), *range(5)]
    assert np.array_equal(fewer.train.numpy(), counts[:12])
    assert np.array_equal(fewer.test.numpy(), held_out)


def test_a_test_set_makes_another_problem_and_its_content_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair(tmp_path, "train", 30, 1)

    def problem():
        return TASK.resolve({"data": "idx", "data_dir": "."}, "p $")

    alone = problem()
    pair(tmp_path, "t10k", 15, 2)
    first = problem()
    pair(tmp_path, "t10k", 15, 3)
    second = problem()

    assert alone["test_share"] == 0.2
    assert set(alone["files"]) == {"train-images", "train-labels"}
    assert set(first["files"]) - set(alone["files"]) == {"t10k-images", "t10k-labels"}
    assert not {"test_share", "data_seed"} & set(first)
    assert first != second


@pytest.mark.parametrize(
    ("change", "raw", "message"),
    [
        (
            "t10k-labels-idx1-ubyte",
            {},
            "data_dir: no t10k-labels-idx1-ubyte in '.', plain or .gz; the test set",
        ),
        (
            "t10k-images-idx3-ubyte",
            {},
            "data_dir: no t10k-images-idx3-ubyte in '.', plain or .gz; the test set",
        ),
        ("train-labels-idx1-ubyte", {}, "data_dir: no train-labels-idx1-ubyte in '.', plain or .gz"),
        (
            None,
            {"test_share": 0.5},
            "test_share: '.' has a test set (t10k-images), which is held out as it is",
        ),
        (None, {"data_seed": 0}, "data_seed: '.' has a test set (t10k-images)"),
        ((4, 5), {}, "data_dir: t10k-images has images of 4 x 5 pixels, and train-images of 5 x 4"),
        ("copy", {}, "data_dir: t10k-images holds the images of train-images; nothing would be held out"),
    ],
)
def test_a_test_set_that_is_half_or_does_not_fit_is_told(tmp_path, monkeypatch, change, raw, message):
    monkeypatch.chdir(tmp_path)
    pair(tmp_path, "train", 30, 1)
    if change == "copy":
        pair(tmp_path, "t10k", 30, 1)
    else:
        pair(tmp_path, "t10k", 15, 2, change if isinstance(change, tuple) else (5, 4))
    if str(change).endswith("ubyte"):
        (tmp_path / change).unlink()

    with pytest.raises(SpecError) as caught:
        TASK.resolve({"data": "idx", "data_dir": ".", **raw}, "p $")
    assert str(caught.value).startswith(f"p $.{message}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"data": "idx"}, "data_dir goes with"),
        ({"data": "idx", "data_dir": "nowhere"}, "no train-images-idx3-ubyte in 'nowhere'"),
        ({"test_share": 1.0}, "between 0 and 1"),
        ({"test_share": 1e-4}, r"test_share: 0.0001 of 1797 images leaves none to test on"),
        ({"n_images": 1}, "of 1 image leaves none to test on"),
        ({"n_images": -5}, "n_images -5 must be at least 1"),
    ],
)
def test_mistakes_have_their_place(raw, message):
    with pytest.raises(SpecError, match=message):
        TASK.resolve(raw, "p $")
