import json

import pandas as pd
from parsl_optuna.report.configurations import flatten, label, means, strata, varied


def trials(points, values, **columns):
    """Rows of a table as `flatten` takes them."""
    rows = pd.DataFrame(
        {
            "hyperparams_json": [json.dumps(point) for point in points],
            "objective": values,
            "problem": "p",
            "method": "m",
            "state": "ok",
            "seed": 0,
            "task": "function",
            "trial_id": [f"r_{index}" for index in range(len(points))],
        }
    )
    return rows.assign(**columns)


def test_seeds_are_replicates_of_one_configuration():
    rows = flatten(trials([{"a": 1, "seed": 1}, {"a": 1, "seed": 2}, {"a": 2, "seed": 1}], [1.0, 3.0, 5.0]))

    assert varied(rows) == ["hp_a"]
    assert means(rows, "objective")[["hp_a", "y", "n"]].to_numpy().tolist() == [[1, 2.0, 2], [2, 5.0, 1]]


def test_every_seed_of_a_trial_counts_whatever_it_is_called():
    """As for the winners of a sweep, so that no table calls two seeds two configurations."""
    points = [{"a": 1, "data_seed": 1, "random_state": 1}, {"a": 1, "data_seed": 2, "random_state": 1}]
    rows = flatten(trials([*points, {"a": 1, "data_seed": 2, "random_state": 2}], [1.0, 3.0, 5.0]))

    assert varied(rows) == []
    assert rows["configuration"].nunique() == 1
    assert rows["replicate"].nunique() == 3


def test_the_replicate_number_of_a_trial_counts_too():
    rows = flatten(trials([{"a": 1}, {"a": 1}], [1.0, 3.0], seed=[0, 1]))

    assert rows["replicate"].nunique() == 2
    assert rows["configuration"].nunique() == 1


def test_a_parameter_without_effect_is_missing():
    point = {"pruning_strategy": "plummet", "plummet_threshold": 0.05, "percentile": 0.05}
    rows = flatten(
        trials(
            [point, point | {"pruning_strategy": "lognorm", "percentile": 0.1}],
            [1.0, 2.0],
            task="lvae",
            method="lvae",
        )
    )

    assert rows["hp_plummet_threshold"].isna().tolist() == [False, True]
    assert "hp_percentile" not in varied(rows)  # it has an effect on the second one alone


def test_null_is_a_value_and_no_gap():
    rows = flatten(trials([{"a": None}, {"a": 1}], [1.0, 2.0]))

    assert varied(rows) == ["hp_a"]


def test_problems_and_methods_are_never_pooled():
    rows = flatten(
        trials([{"a": 1}] * 4, 1.0, problem=["p", "q", "p", "q"], state=["ok", "ok", "ok", "failed"])
    )

    assert [(head["problem"], len(group)) for head, group in strata(rows)] == [("p", 2), ("q", 1)]


def test_a_task_that_is_not_there_leaves_all_parameters_in():
    assert varied(flatten(trials([{"a": 1}, {"a": 2}], 1.0, task="nowhere:TASK"))) == ["hp_a"]


def test_a_text_that_reads_as_a_number_is_not_that_number():
    points = [{"a": 1}, {"a": "1"}, {"b": None}, {"b": "null"}, {"c": True}, {"c": "true"}]

    rows = flatten(trials(points, 1.0))

    assert varied(rows) == ["hp_a", "hp_b", "hp_c"]
    assert rows["hp_a"].dropna().map(label).tolist() == ["1", '"1"']
    assert rows["configuration"].nunique() == 6


def test_lists_and_objects_are_values_like_others():
    points = [{"layers": one} for one in ([16, 8], [16, 8], {"first": 16}, None)]

    rows = flatten(trials(points, [1.0, 3.0, 5.0, 7.0]))

    assert means(rows, "objective")["hp_layers"].tolist() == ["[16, 8]", '{"first": 16}', "null"]


def test_null_and_the_text_null_are_two_values():
    rows = flatten(trials([{"a": None}, {"a": "null"}, {"a": '"null"'}], [1.0, 2.0, 3.0]))

    assert rows["hp_a"].map(label).tolist()[:2] == ["null", '"null"']
    assert rows["hp_a"].map(label).nunique() == 3
