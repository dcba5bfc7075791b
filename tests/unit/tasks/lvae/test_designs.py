import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parsl_optuna.core.errors import SpecError, TaskError
from parsl_optuna.tasks.base import prepare_task
from parsl_optuna.tasks.lvae import TASK

KNOWN = {"linear": 4, "disk2": 2, "disk3": 3, "disk5": 5, "bars": 4, "frame": 3,
         "curve": 1, "space_curve": 1, "sheet": 2}  # fmt: skip


def made(folder, **raw):
    problem = TASK.resolve({"n_designs": 40} | raw, "p $")
    folder.mkdir(exist_ok=True)
    prepare_task(TASK, problem, folder)
    return problem, np.load(folder / "designs.npy")


@pytest.mark.parametrize("name", KNOWN)
def test_a_family_has_as_many_directions_as_it_has_parameters(name, tmp_path):
    """Around one point, PCA of what changes needs exactly the dimension."""
    from parsl_optuna.tasks.lvae.designs import FAMILIES  # noqa: PLC0415

    family, stream = FAMILIES[name], np.random.default_rng(1)
    assert family.dim == KNOWN[name]
    around = 0.4 + 0.01 * (stream.random((200, family.dim)) - 0.5)
    designs = family.make(around, 32).reshape(200, -1)
    values = np.linalg.svd(designs - designs.mean(axis=0), compute_uv=False) ** 2

    assert values[: family.dim].sum() / values.sum() > 0.995
    assert values[family.dim - 1] / values[0] > 1e-4


@pytest.mark.parametrize("name", [*KNOWN, "beams2d", "heatconduction2d"])
def test_designs_are_written_whole_and_the_same_again(name, tmp_path):
    raw = {"problem_id": name, "resolution": 8, "n_designs": 12}
    problem, designs = made(tmp_path / "a", **raw)

    assert designs.dtype == np.float32
    assert np.isfinite(designs).all()
    assert designs.shape[1:] == ((designs.shape[-1],) if problem["is_vector"] else (1, 8, 8))
    assert problem["true_dim"] == KNOWN.get(name)
    if problem["unit_range"]:
        assert 0 <= designs.min() <= designs.max() <= 1
    assert np.array_equal(made(tmp_path / "b", **raw)[1], designs)
    assert not np.array_equal(made(tmp_path / "c", **raw, data_seed=1)[1], designs)


def test_published_designs_are_read_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    designs = np.random.default_rng(0).random((12, 20, 30))
    pq.write_table(pa.table({"optimal_design": designs.tolist()}), "photonics.parquet")

    problem, found = made(tmp_path / "p", problem_id="photonics2d", file="photonics.parquet", resolution=16)

    assert found.shape == (12, 1, 16, 16)
    assert found.mean() == pytest.approx(designs.mean(), abs=0.02)
    assert problem["file"]["path"] == "photonics.parquet"
    pq.write_table(pa.table({"other": [1]}), "other.parquet")
    with pytest.raises(SpecError, match=r"p \$\.file: .*other.parquet: no designs in it"):
        made(tmp_path / "q", problem_id="photonics2d", file="other.parquet")


def written(folder, designs):
    pq.write_table(pa.table({"optimal_design": designs.tolist()}), folder / "beams.parquet")
    return {"problem_id": "beams2d", "file": "beams.parquet"}


def test_a_bar_of_one_pixel_keeps_its_mass_at_every_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    designs = np.zeros((12, 50, 100))
    designs[::2, 17, :] = 1.0
    designs[1::2, 31, :] = 1.0
    raw = written(tmp_path, designs)

    for side in (8, 16, 64, 128):
        _, found = made(tmp_path / str(side), **raw, resolution=side)
        assert found.mean() == pytest.approx(designs.mean(), rel=1e-5)
        assert found.max() <= 1.0


def test_densities_outside_of_their_range_are_told_and_not_clipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    designs = np.random.default_rng(0).random((12, 8, 8)) * 255

    with pytest.raises(SpecError, match=r"densities from 0 to 1, and these go from .* to 25.*; scale them"):
        made(tmp_path / "a", **written(tmp_path, designs))
    designs[3, 0, 0] = np.nan
    with pytest.raises(SpecError, match="design 3 holds a number that is not finite"):
        made(tmp_path / "b", **written(tmp_path, designs))


def test_an_edited_file_is_not_taken_for_the_one_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    designs = np.random.default_rng(0).random((12, 8, 8))
    problem = TASK.resolve(written(tmp_path, designs), "p $")
    written(tmp_path, designs / 2)

    with pytest.raises(TaskError, match="was edited since this run was planned"):
        prepare_task(TASK, problem, tmp_path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"problem_id": "disk"}, "did you mean 'disk"),
        ({"problem_id": "photonics2d"}, r"p \$\.designs: is missing"),
        (
            {"problem_id": "disk2", "resolution": 17},
            r"p \$\.resolution: 17 must be one of 8, 10",
        ),
        ({"problem_id": "disk2", "n_designs": 3}, "at least 10"),
        ({"problem_id": "beams2d", "file": "no.parquet"}, "no file 'no.parquet'"),
    ],
)
def test_mistakes_have_their_place(raw, message):
    with pytest.raises(SpecError, match=message):
        TASK.resolve(raw, "p $")
