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
