import numpy as np
from parsl_optuna.report import plots
from parsl_optuna.report import tables as aggregate
from parsl_optuna.report.plots import convergence
from parsl_optuna.store.artifacts import ArtifactStore

from tests.toyrun import drive, toy_plan


def test_a_picture_is_drawn_with_failures_in_it(tmp_path):
    plan = toy_plan({"truth": 1.0, "trouble": "some"}, 2.0, methods=("guess", "other"))
    drive(plan, tmp_path)
    rows = aggregate.table(aggregate.collect(ArtifactStore(tmp_path), plan.task.name), plan.task)

    convergence(rows.to_pandas(), tmp_path / "c.png")

    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_lines_are_named_where_the_title_names_them():
    values = np.arange(12.0).reshape(4, 3)

    assert plots.array_picture(values, "losses:_a,_b,_c") != plots.array_picture(values, "losses")
