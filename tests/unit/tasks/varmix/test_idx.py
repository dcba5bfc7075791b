"""What MNIST's files may be, and what is said of others, before anything runs."""

import gzip
import struct

import numpy as np
import pytest
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.tasks.varmix import TASK
from parsl_optuna.tasks.varmix.idx import read_idx


def idx(values):
    values = np.asarray(values, dtype=np.uint8)
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


IMAGES, LABELS = idx(np.random.default_rng(0).integers(0, 256, (20, 5, 4))), idx(np.arange(20) % 10)
ZIPPED = gzip.compress(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "is not an IDX file"),
        (idx([[1, 2]]), "with 1 dimensions"),
        (idx([1, 2, 3])[:-1], "holds 2 values where its head says"),
        (idx([1, 2, 3]) + b"x", "holds 4 values where its head says"),
        (bytes([0, 0, 8, 1]) + b"\xff" * 4, "holds 0 values where its head says"),
    ],
)
def test_a_file_that_is_no_idx_or_has_another_length_is_told(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)

    with pytest.raises(TaskError, match=message):
        read_idx(tmp_path / "x", 1)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (ZIPPED[:-40], LABELS, "images-idx3-ubyte: is cut short or damaged"),
        (ZIPPED[:-4], LABELS, "is cut short or damaged"),
        (ZIPPED[:-8] + bytes(8), LABELS, "is cut short or damaged"),
        (ZIPPED[:20] + b"\xff" * 20 + ZIPPED[40:], LABELS, "is cut short or damaged"),
        (IMAGES, idx(np.arange(19) % 10), "has 19 labels, and train-images-idx3-ubyte has 20 images"),
        (IMAGES, idx(np.arange(20)), "labels go up to 19; they have to be digits"),
        (LABELS, IMAGES, "train-images-idx3-ubyte: is not an IDX file of bytes with 3 dimensions"),
        (idx(np.zeros((0, 5, 4))), idx([]), "has no pixels: its head says 0 x 5 x 4"),
        (idx(np.zeros((20, 0, 4))), LABELS, "has no pixels"),
        (idx(np.full((20, 5, 4), 7)), LABELS, "images-idx3-ubyte: all images are equal"),
        (IMAGES, idx(np.full(20, 3)), "labels-idx1-ubyte: all labels are 3"),
    ],
)
def test_files_that_are_damaged_or_do_not_fit_are_told(tmp_path, monkeypatch, images, labels, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)

    with pytest.raises(SpecError, match=message) as caught:
        TASK.resolve({"data": "idx", "data_dir": "."}, "c.yaml $.problems[0]")
    assert str(caught.value).startswith("c.yaml $.problems[0].data_dir: ")
    assert len(str(caught.value).splitlines()) == 1
