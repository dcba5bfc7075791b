"""Trials that begin short: which run on, from where, and by which the best is chosen."""

from dataclasses import replace

import pytest
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.fidelity import Fidelity
from parsl_optuna.study.search.ladder import promoted
from parsl_optuna.study.stored import trials_of

from tests.toyrun import ArtifactStore, drive, numbered, rows, toy_plan

LADDER = Fidelity("k", 1, 4, factor=2)
KEYS = {"parameter": "k", "min": 1, "max": 4, "factor": 2}


def plan(**optuna):
    return toy_plan(
        search_space={"guess": {"kind": "plain"}}, **{"max_trials": 20, "fidelity": KEYS} | optuna
    )


def walking(folder, **optuna):
    """Run a method whose longer trials go on from shorter ones."""
    keys = {"parameter": "steps", "min": 2, "max": 8, "factor": 2}
    made = toy_plan(
        {"truth": 1.0, "log": str(folder / "log")},
        methods=("walk",),
        **{"max_trials": 12, "fidelity": keys} | optuna,
    )
    return drive(made, folder / "artifacts").studies[0]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Some trials that ended, of which *x* tells the place."""
    folder = tmp_path_factory.mktemp("ended")
    return numbered(drive(plan(max_trials=6, fidelity=None), folder).studies[0])


def test_of_n_points_of_a_rung_the_best_nth_go_on_the_highest_rung_first(ended):
    by_place = sorted(ended, key=lambda one: one.place)
    points = [({"x": float(place), "k": 1}, one) for place, one in enumerate(by_place)]

    known = [point for point, _ in points]
    for place in range(3):
        source = promoted(LADDER, points, known)
        assert source == {"x": float(place), "k": 1}
        known.append({"x": float(place), "k": 2})
    assert promoted(LADDER, points, known) is None
    higher = [*points, ({"x": 0.0, "k": 2}, by_place[0]), ({"x": 1.0, "k": 2}, by_place[1])]
    assert promoted(LADDER, higher, known[:-1]) == {"x": 0.0, "k": 2}


def test_a_failed_point_counts_and_never_goes_on(ended):
    failed = replace(ended[0], objectives={"error": None})
    points = [({"x": 0.0, "k": 1}, failed), ({"x": 1.0, "k": 1}, failed)]

    assert promoted(LADDER, points, [point for point, _ in points]) is None


def test_every_point_begins_on_the_lowest_rung_and_the_best_is_of_the_highest(tmp_path):
    study = drive(plan(), tmp_path).studies[0]

    lengths = [one.manifest.hyperparams["k"] for one in numbered(study)]
    assert lengths[0] == 1
    assert set(lengths) == {1, 2, 4}
    assert all(
        (one.asked.by == "promote") == (k > 1) for one, k in zip(numbered(study), lengths, strict=True)
    )
    longest = [one for one in study.successes if one.manifest.hyperparams["k"] == 4]
    assert study.best() == min(longest, key=lambda one: one.place)


@pytest.mark.parametrize("sampler", ["tpe", "rank_gp"])
def test_proposals_are_the_same_after_a_stop(tmp_path, sampler):
    drive(plan(sampler=sampler, max_trials=9, batch_size=1), tmp_path / "a")

    stopped = rows(drive(plan(sampler=sampler, batch_size=1), tmp_path / "a"))

    assert stopped == rows(drive(plan(sampler=sampler, batch_size=1), tmp_path / "b"))


def test_a_longer_trial_goes_on_from_its_shorter_one(tmp_path):
    study = walking(tmp_path)

    asked = {
        trial.manifest.trial_id: trial
        for trial in trials_of(ArtifactStore(tmp_path / "artifacts"), study.study.pid, "walk")
    }
    for trial in asked.values():
        steps = trial.manifest.hyperparams["steps"]
        source = None if trial.asked.extends is None else asked[trial.asked.extends].manifest.hyperparams
        assert source == (None if steps == 2 else {**trial.manifest.hyperparams, "steps": steps // 2})
    lines = (tmp_path / "log").read_text().splitlines()
    lengths = [trial.manifest.hyperparams["steps"] for trial in asked.values()]
    done = sum(line.removeprefix("walk ").isdigit() for line in lines)
    assert done == sum(2 if steps == 2 else steps // 2 for steps in lengths)


def test_fresh_seeds_are_those_of_the_longest_trials(tmp_path):
    study = walking(tmp_path, max_trials=20, confirm=1)

    assert study.fresh
    assert {one.manifest.hyperparams["steps"] for one in study.fresh} == {8}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"pruner": "median"}, "fidelity does not go with pruner"),
        ({"sampler": "grid"}, "fidelity does not go with sampler: grid"),
        ({"objectives": ["error", "se"]}, "fidelity does not go with several objectives"),
        ({"fidelity": {"parameter": "k", "min": 4, "max": 2}}, "below max 2"),
        ({"fidelity": {"parameter": "kk", "min": 1, "max": 2}}, "kk"),
        ({"fidelity": {"parameter": "kind", "min": 1, "max": 2}}, "kind"),
    ],
)
def test_what_does_not_go_together_is_one_line(more, why):
    with pytest.raises(SpecError, match=why) as error:
        toy_plan(**{"fidelity": KEYS} | more)
    assert "\n" not in str(error.value)


def test_the_parameter_is_not_searched_too():
    with pytest.raises(SpecError, match=r"search_space.guess.k: optuna.fidelity says what it may be"):
        toy_plan(search_space={"guess": {"k": {"low": 1, "high": 8}}}, fidelity=KEYS)
