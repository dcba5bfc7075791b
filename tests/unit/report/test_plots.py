import numpy as np
import pandas as pd
import pytest
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


@pytest.mark.parametrize(
    ("low", "high", "seen"), [(0.002, 30.0, {"0.01", "0.1", "1", "10"}), (0.0091, 0.0099, {"0.0094"})]
)
def test_logarithmic_axes_have_numbers_not_formulas(monkeypatch, low, high, seen):
    drawn = []
    monkeypatch.setattr(plots, "_png", drawn.append)

    plots.curves({"study": {"trial": pd.Series(np.geomspace(low, high, 9))}}, "loss")
    (figure,) = drawn
    figure.canvas.draw()

    axis = figure.axes[0].yaxis
    assert axis.get_scale() == "log"
    ticks = {label.get_text() for label in axis.get_ticklabels(which="both")}
    assert seen <= ticks
    assert not any("$" in text for text in ticks)
