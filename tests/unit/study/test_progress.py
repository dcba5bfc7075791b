from dataclasses import replace

from parsl_optuna.study.progress import status_of

from tests.toyrun import drive, toy_plan


def test_checkpoints_of_a_training_run_have_no_best(tmp_path):
    active = drive(toy_plan(1.0), tmp_path).studies[0]

    of_search = status_of(active.study, active, None)
    of_checkpoints = status_of(replace(active.study, has_best=False), active, None)

    assert of_search.best == min(one.values[0] for one in active.state.points.values())
    assert of_checkpoints == replace(of_search, best=None)
