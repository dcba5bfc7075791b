import base64

import numpy as np
from parsl_optuna.report.interactive.left import lines_of, pictures_of
from parsl_optuna.store.layout import Artifacts
from parsl_optuna.tasks.pictures import leave

TRIAL = {"pid": "p_1", "method": "guess", "trial_id": "r_1"}


def files(store):
    folder = store.files("p_1", "guess", "r_1")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_small_pictures_of_trials_are_taken_along(tmp_path):
    store = Artifacts(tmp_path)
    (files(store) / "a.png").write_bytes(b"picture")
    (files(store) / "huge.png").write_bytes(b"x" * 400_000)

    found = pictures_of(store, [("guess on small", TRIAL)])

    assert found == [("guess on small: a.png", "data:image/png;base64,cGljdHVyZQ==")]


def test_every_kind_of_array_becomes_a_picture(tmp_path):
    store, stream = Artifacts(tmp_path), np.random.default_rng(0)
    shapes = {"stds": (5,), "trace": (40, 3), "plane": (40, 2), "lines": (2, 3, 7), "images": (2, 3, 4, 4)}
    leave(files(store), {name: stream.random(shape) for name, shape in shapes.items()})

    found = dict(pictures_of(store, [("best", TRIAL)]))

    assert list(found) == [f"best: {name}" for name in shapes]
    for uri in found.values():
        assert base64.b64decode(uri.partition(",")[2]).startswith(b"\x89PNG")


def test_the_lines_of_a_trial_are_thinned_and_their_values_kept(tmp_path):
    store = Artifacts(tmp_path)
    trace = np.outer(np.arange(1000.0), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    leave(files(store), {"trace": trace, "stds": np.ones(4)})

    (lines,) = lines_of(store, [TRIAL])["r_1"].values()

    assert len(lines) == 4
    assert lines[1][:3] == [0.0, 14.0, 28.0]
    assert len(lines[1]) <= 150


def test_a_line_that_left_the_finite_numbers_is_not_drawn(tmp_path):
    store = Artifacts(tmp_path)
    leave(files(store), {"trace": np.array([[1.0, np.nan, 1.0], [2.0, 2.0, 2.0]])})

    assert lines_of(store, [TRIAL])["r_1"]["trace"] == [[1.0, 2.0], [1.0, 2.0]]


def test_a_file_that_holds_no_arrays_shows_nothing(tmp_path):
    store = Artifacts(tmp_path)
    (files(store) / "pictures.npz").write_bytes(b"PK no archive")

    assert pictures_of(store, [("best", TRIAL)]) == []
    assert lines_of(store, [TRIAL]) == {}
