import math
from dataclasses import replace
from statistics import fmean, median, stdev

import pytest
from parsl_optuna.core.objective import Scoring
from parsl_optuna.report import tables as aggregate
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.pooling import pooled

from tests.toyrun import drive, numbered, rows, toy_plan
from tests.unit.study.test_driver import KilledExecutor


def replicated(**optuna):
    return toy_plan(**({"max_trials": 5, "batch_size": 1, "replicates": 3, "confirm": 2} | optuna))


@pytest.mark.parametrize(("name", "middle"), [("mean", fmean), ("median", median)])
def test_a_point_is_the_middle_of_its_replicates_and_keeps_their_spread(tmp_path, name, middle):
    trials = drive(replicated(aggregate=name), tmp_path).studies[0]

    assert len(trials.ended) == 5
    assert len(trials.runs) == 15
    for point in trials.ended.values():
        mine = [r for r in trials.runs.values() if r.manifest.hyperparams == point.manifest.hyperparams]
        values = [run.values[0] for run in mine]
        assert sorted(run.manifest.seed for run in mine) == [0, 1, 2]
        assert point.values == (pytest.approx(middle(values)),)
        assert point.spread == pytest.approx(stdev(values))


def test_the_best_point_is_confirmed_on_seeds_it_has_not_seen(tmp_path):
    trials = drive(replicated(), tmp_path).studies[0]

    assert sorted(e.manifest.seed for e in trials.state.confirmed.values()) == [3, 4]


def test_every_replicate_is_a_row_also_from_artifacts_alone(tmp_path):
    plan = replicated()
    drive(plan, tmp_path)

    table = aggregate.table(aggregate.collect(ArtifactStore(tmp_path), plan.task.name), plan.task)

    assert sorted(table.column("seed").to_pylist()) == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("stop_at", [2, 3, 4, 9, 12])
def test_interrupted_anywhere_it_gives_the_same_points(tmp_path, stop_at):
    with pytest.raises(KeyboardInterrupt):
        drive(replicated(), tmp_path / "cut", KilledExecutor(stop_at, mid_trial=True))

    resumed = drive(replicated(), tmp_path / "cut")

    assert rows(resumed) == rows(drive(replicated(), tmp_path / "whole"))
    assert drive(replicated(), tmp_path / "cut").n_started == 0


def test_more_replicates_later_run_only_what_is_missing(tmp_path):
    drive(replicated(replicates=1, confirm=0), tmp_path)

    again = drive(replicated(replicates=3, confirm=0), tmp_path)

    assert again.n_started == 10
    assert len(again.studies[0].ended) == 5


def test_a_point_fails_with_one_of_its_replicates(tmp_path):
    good = numbered(drive(replicated(), tmp_path / "a").studies[0])[0]
    bad = next(iter(drive(toy_plan({"truth": 1.0, "trouble": "nan"}, max_trials=1), tmp_path / "b")
                    .studies[0].ended.values()))  # fmt: skip

    assert pooled([good, bad], "mean").values is None
    assert pooled([good], "mean") is good


def test_scores_are_pooled_to_their_root_mean_square_and_violations_to_the_largest(tmp_path):
    runs = list(drive(toy_plan(max_trials=2), tmp_path).studies[0].runs.values())
    scores = [
        replace(
            run, objectives={"score": value}, scoring=Scoring(names=("score",)), violations={"m <= 0": far}
        )
        for run, value, far in zip(runs, (3.0, 4.0), (0.0, 0.5), strict=True)
    ]

    found = pooled(scores, "mean")

    assert found.objectives == {"score": pytest.approx(math.sqrt(12.5))}
    assert found.violations == {"m <= 0": 0.5}
    assert found.violation == 0.5
