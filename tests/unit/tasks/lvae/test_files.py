import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.tasks.base import prepare_task
from parsl_optuna.tasks.lvae import TASK
from parsl_optuna.tasks.lvae.files import read
from parsl_optuna.tasks.lvae.train import load_designs
from PIL import Image

STREAM = np.random.default_rng(0)


def smooth(n=12, rows=20, columns=30, seed=1):
    """Bumps that differ: pixels are like their neighbours, designs are not."""
    x, y = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
    places = np.random.default_rng(seed).random((n, 2, 1, 1))
    return np.exp(-20 * ((x - places[:, 0]) ** 2 + (y - places[:, 1]) ** 2))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def image(path, pixels, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def problem(name, **more):
    return TASK.resolve({"problem_id": "mine", "designs": name, **more}, "p $")


def prepared(found, folder):
    folder.mkdir()
    prepare_task(TASK, found, folder)
    return {path.stem: np.load(path) for path in folder.iterdir()}


@pytest.mark.parametrize("shape", [(12, 20, 30), (12, 1, 20, 30), (12, 20, 30, 1)])
def test_images_come_in_three_shapes(folder, shape):
    saved(folder / "my designs.npy", smooth().reshape(shape))

    found = problem("my designs.npy", true_dim=2)

    assert (found["is_vector"], found["unit_range"], found["true_dim"]) == (False, True, 2)
    designs = prepared(found, folder / "out")["designs"]
    assert designs.shape == (12, 1, 16, 16)
    assert designs.mean() == pytest.approx(smooth().mean(), rel=1e-5)


@pytest.mark.parametrize("shape", [(12, 40), (12, 2, 20), (12, 20, 2)])
def test_vectors_and_curves_stay_as_they_are(folder, shape):
    vectors = 3 * smooth(12, 1, 40).reshape(shape) - 1
    saved(folder / "wings.npy", vectors)

    found = problem("wings.npy")

    assert (found["is_vector"], found["unit_range"]) == (True, False)
    designs = prepared(found, folder / "out")["designs"]
    assert np.allclose(designs, vectors.reshape(12, 40))


def test_a_published_aerofoil_is_read_by_its_points(folder):
    coords = smooth(12, 2, 40)
    rows = [{"coords": one.tolist(), "angle_of_attack": 2.0} for one in coords]
    pq.write_table(pa.table({"optimal_design": rows, "cl": [0.1] * 12}), folder / "airfoil.parquet")

    assert np.allclose(read(folder / "airfoil.parquet")["all"], coords.reshape(12, 80))


def test_an_npz_names_its_designs(folder):
    np.savez(folder / "one.npz", x=smooth())
    np.savez(folder / "named.npz", designs=smooth(), labels=np.arange(12))
    np.savez(folder / "unclear.npz", a=smooth(), b=smooth())

    assert np.array_equal(read(folder / "one.npz")["all"], smooth())
    assert np.array_equal(read(folder / "named.npz")["all"], smooth())
    with pytest.raises(TaskError, match="which of a, b are the designs"):
        read(folder / "unclear.npz")


def test_of_an_npz_only_the_designs_are_read(folder):
    np.savez(folder / "a.npz", designs=smooth(), about=np.array({"by": "me"}, dtype=object))

    assert np.array_equal(read(folder / "a.npz")["all"], smooth())


def test_an_npz_without_arrays_or_with_a_split_twice_is_refused(folder):
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("a.txt", "x")
    np.savez(folder / "b.npz", train=smooth(), val=smooth(), validation=smooth())

    with pytest.raises(TaskError, match="which of no arrays are the designs"):
        read(folder / "a.npz")
    with pytest.raises(TaskError, match="val and validation are both the split 'val'; keep one"):
        read(folder / "b.npz")


def test_splits_of_a_hub_are_kept_and_the_test_split_is_left_alone(folder):
    for name, n in (("train", 12), ("val", 5), ("test", 3)):
        (folder / "hub/data").mkdir(parents=True, exist_ok=True)
        table = pa.table({"optimal_design": smooth(n, seed=n).tolist(), "volfrac": [0.3] * n})
        pq.write_table(table, folder / f"hub/data/{name}-00000-of-00001.parquet")
    (folder / "hub/README.md").write_text("---")

    out = folder / "out"
    found = prepared(problem("hub"), out)

    assert {name: len(part) for name, part in found.items()} == {"train": 12, "val": 5}
    designs = load_designs(out, 0)
    assert (len(designs.train), len(designs.val)) == (12, 5)


def test_splits_in_an_npz_are_kept(folder):
    np.savez(folder / "s.npz", train=smooth(), validation=smooth(4, seed=2), test=smooth(2))

    assert {name: len(part) for name, part in read(folder / "s.npz").items()} == {"train": 12, "val": 4}


def test_a_folder_of_images_is_read_in_order_of_names(folder):
    pixels = (255 * smooth()).astype(np.uint8)
    for index, one in enumerate(pixels):
        image(folder / f"pics/{index:02d} a.png", one)
    image(folder / "pics/12.png", pixels[0], "RGB")  # grey all the same
    (folder / "pics/.DS_Store").write_text("")

    found = read(folder / "pics")["all"]

    assert np.allclose(found[:12], pixels / 255)
    assert np.allclose(found[12], pixels[0] / 255)


def test_images_of_16_bits_and_of_one_are_read_by_their_depth(folder):
    for index, one in enumerate(smooth()):
        (folder / "deep").mkdir(exist_ok=True)
        Image.fromarray((65535 * one).astype(np.uint16)).save(folder / f"deep/{index:02d}.png")
        image(folder / f"flat/{index:02d}.png", (255 * (one > 0.5)).astype(np.uint8), "1")

    assert np.allclose(read(folder / "deep")["all"], smooth(), atol=1e-4)
    assert set(np.unique(read(folder / "flat")["all"])) == {0.0, 1.0}


def coloured(folder):
    for index in range(12):
        image(folder / f"{index}.png", STREAM.integers(0, 255, (8, 8, 3), dtype=np.uint8), "RGB")


def mixed(folder):
    for index in range(12):
        image(folder / f"{index:02d}.png", STREAM.integers(0, 255, (8 + (index == 7), 8), dtype=np.uint8))


def masks(folder):
    for index in range(12):
        image(folder / f"{index}.png", STREAM.integers(0, 2, (8, 8), dtype=np.uint8))


def eight_bits_in_16(folder):
    for index in range(12):
        folder.mkdir(exist_ok=True)
        Image.fromarray(STREAM.integers(0, 256, (8, 8)).astype(np.uint16)).save(folder / f"{index}.png")


def with_a_transparent_level(folder):
    for index in range(12):
        folder.mkdir(exist_ok=True)
        pixels = STREAM.integers(0, 4, (8, 8), dtype=np.uint8) * 80
        Image.fromarray(pixels).save(folder / f"{index}.png", transparency=0)


def with_a_note(folder):
    mixed(folder)
    (folder / "07.png").unlink()
    (folder / "notes.txt").write_text("mine")


def torn(folder):
    with_a_note(folder)
    (folder / "notes.txt").unlink()
    (folder / "03.png").write_bytes((folder / "03.png").read_bytes()[:40])


def split_in_part(folder):
    for name in ("train.npy", "more.npy"):
        saved(folder / name, smooth())


def copied(folder):
    designs = smooth(20)
    saved(folder / "train.npy", designs)
    saved(folder / "val.npy", designs[5:11])


def of_two_sizes(folder):
    saved(folder / "train.npy", smooth())
    saved(folder / "val.npy", smooth(12, 20, 20))


def without_validation(folder):
    saved(folder / "train" / "a.npy", smooth())
    (folder / "val").mkdir()


def beside(name):
    def fill(folder):
        saved(folder / "a.npy", smooth())
        image(folder / "0.png", np.zeros((8, 8), dtype=np.uint8))
        (folder / "0.png").rename(folder / name)

    return fill


FOLDERS = [
    (coloured, "0.png: has colours; convert it to grey levels"),
    (masks, r"its lightest pixel has 0.0039 of white; white is 255 of 8 bits"),
    (eight_bits_in_16, r"its lightest pixel has 0.003\d of white; white is 255 of 8 bits and 65535 of 16"),
    (with_a_transparent_level, "is transparent in places; put it on a background"),
    (mixed, r"07.png: is 9 x 8 pixels, and 00.png is 8 x 8; make them one size"),
    (with_a_note, "notes.txt: is no image"),
    (torn, "03.png: cannot be read as an image"),
    (split_in_part, "more.npy: belongs to no split, and others of its folder do"),
    (of_two_sizes, "designs of split 'train' are 20 x 30, of 'val' 20 x 20"),
    (copied, "6 of 6 designs of split 'val' are in 'train' too"),
    (without_validation, "val: is a split without files"),
    (lambda folder: saved(folder / "val.npy", smooth()), "has a split 'val' but none to train on"),
    (beside("0.png"), "0.png: would be left out, as a.npy and its like are read here; take it away"),
    (beside("b.npz"), "b.npz: would be left out"),
    (beside("Val.json"), "Val.json: would be left out"),
    (lambda folder: folder.mkdir(), "folder 'set' has no files"),
]


@pytest.mark.parametrize(("fill", "message"), FOLDERS)
def test_a_folder_that_is_no_set_is_refused(folder, fill, message):
    fill(folder / "set")

    with pytest.raises(SpecError, match=r"p \$\.designs: .*" + message):
        problem("set")


ARRAYS = [
    (np.arange(12.0), r"an array 12 holds no designs"),
    (np.float64(3), "an array a single number holds no designs"),
    (np.ones((1, 8, 8)), r"has 1 design \(1 x 8 x 8\); 10 are needed"),
    (np.ones((0, 8, 8)), r"has 0 designs"),
    (np.ones((12, 0)), "holds no designs"),
    (np.ones((12, 8, 8)), "all designs are equal"),
    (np.repeat(STREAM.random((1, 8, 8)), 40, axis=0), "all designs are equal$"),
    (np.array([{"a": 1}] * 12), "but Python objects or another format"),
    (np.arange(120).reshape(12, 10).astype("m8[s]"), r"designs are timedelta64\[s\], not real numbers"),
    (STREAM.random((12, 8)) * 1e30, "whose square single precision cannot hold"),
    (STREAM.random((12, 8)) * 1e-3 + 1e6, "all designs are equal in single precision; subtract their mean"),
    (np.array([["a"] * 8] * 12), "designs are <U1, not real numbers"),
    (STREAM.random((12, 8, 8)) * 1j, "designs are complex128, not real numbers"),
    (STREAM.random((12, 8, 8, 3)), "colours are not read, average them to one channel"),
    (
        STREAM.integers(0, 255, (12, 8, 8), dtype=np.uint8),
        r"and these go from 0 to 25\d; scale them, x / 255 does",
    ),
    (STREAM.integers(0, 65535, (12, 8, 8), dtype=np.uint16), r"scale them, x / 65535 does"),
    (16 * np.round(smooth() > 0.5), r"from 0 to 16; scale them, x / 16 does"),
    (2 * smooth() - 1, r"scale them, \(x \+ [\d.]+\) / [\d.]+ does"),
    (np.moveaxis(smooth(60), 0, -1), "looks as if the last axis counted the designs; it has to be the first"),
    (
        np.where(np.arange(12)[:, None] == 5, np.inf, STREAM.random((12, 8))),
        "design 5 holds a number",
    ),
]


@pytest.mark.parametrize(("array", "message"), ARRAYS)
def test_an_array_that_is_no_set_is_refused(folder, array, message):
    np.save(folder / "a.npy", array)

    with pytest.raises(SpecError, match=message):
        problem("a.npy")


def test_rows_of_different_lengths_and_empty_ones_are_refused(folder):
    rows = [[[0.1, 0.2], [0.3, 0.4]]] * 11
    pq.write_table(pa.table({"optimal_design": [*rows, [[0.1, 0.2]]]}), folder / "ragged.parquet")
    pq.write_table(pa.table({"optimal_design": [*rows, None]}), folder / "gaps.parquet")
    (folder / "a.csv").write_text("1,2")
    (folder / "torn.npy").write_bytes(b"\x93NUMPY")

    for name, message in (
        ("ragged.parquet", r"differ in size: \[1, 2\]"),
        ("gaps.parquet", "1 empty entries"),
        ("a.csv", "a file ending in '.csv' is not read; give .npy"),
        ("torn.npy", "no designs in it"),
        ("none.npy", "no file 'none.npy'"),
    ):
        with pytest.raises(SpecError, match=message):
            problem(name)


def test_an_edited_folder_is_not_taken_for_the_one_it_was(folder):
    saved(folder / "set/a.npy", smooth())
    found = problem("set")
    saved(folder / "set/a.npy", smooth() / 2)

    assert problem("set")["file"] != found["file"]
    with pytest.raises(TaskError, match="set: was edited since this run was planned; run the command again"):
        prepared(found, folder / "out")


def test_values_of_any_range_are_taken_where_the_problem_says_so(folder):
    saved(folder / "fields.npy", 5 * smooth() - 2)

    found = prepared(problem("fields.npy", unit_range=False), folder / "out")["designs"]

    assert found.min() < -1.5


def test_a_problem_has_designs_of_its_own_kind(folder):
    saved(folder / "v.npy", STREAM.random((12, 9)))

    with pytest.raises(SpecError, match="holds vectors, and designs of beams2d are images"):
        TASK.resolve({"problem_id": "beams2d", "designs": "v.npy"}, "p $")
    with pytest.raises(SpecError, match="is an older name of designs"):
        TASK.resolve({"problem_id": "beams2d", "designs": "v.npy", "file": "v.npy"}, "p $")
    with pytest.raises(SpecError, match="true_dim: goes with designs of a file; disk2 has 2"):
        TASK.resolve({"problem_id": "disk2", "true_dim": 3}, "p $")
