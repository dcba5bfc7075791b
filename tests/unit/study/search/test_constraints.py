import math

import optuna
from parsl_optuna.study.search import constraints


def told(*violations, is_pruned=False):
    """Return what samplers read of a trial with these violations."""
    study = optuna.create_study()
    trial = study.ask()
    named = {f"constraint {i}": value for i, value in enumerate(violations)}
    for key, value in constraints.attributes(named, is_pruned=is_pruned).items():
        study._storage.set_trial_system_attr(trial._trial_id, key, value)
    study.tell(trial, 0.0)
    return list(constraints.of(study.trials[0]).values())


def test_violations_are_read_as_they_were_told():
    assert told(-1.0, 8e9) == [-1.0, 8e9]


def test_a_missing_metric_is_behind_every_other_miss():
    assert told(-1.0, math.inf) == [-1.0, math.inf]


def test_nothing_is_known_of_what_a_pruned_trial_did_not_come_to():
    assert told(math.inf, is_pruned=True) == []
